"""Correctness checks of benchmarks: KernelBench and its kin, flashinfer-bench, SOL, Triton's."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from tests.benchmarks.peers.data import CAP, Draw, counts, rows
from tests.benchmarks.peers.protocol import Check, Implementation, Protocol, Sample, against
from tests.benchmarks.peers.reference import in_dtype, llama
from tests.benchmarks.peers.rules import (
    absolute_or_relative,
    close,
    default_close,
    each,
    within_fraction,
)

Shape = tuple[int, ...]


def kernel_bench(op: str) -> Iterator[Check]:
    draw = Draw(42)
    shape: Shape = (64, 256, 256) if op == "layer_norm" else (64,)
    m = rows(16 if op == "layer_norm" else 112 * 512 * 512, math.prod(shape))
    for _ in range(5):
        x = draw.uniform(m, *shape, low=0, high=1)
        pair = (torch.ones(shape), torch.zeros(shape)) if op == "layer_norm" else (None, None)
        yield against(Sample(x, shape, *pair), in_dtype(op), each(close(1e-4, 1e-4)))


_ROBUST: dict[str, tuple[tuple[bool, tuple[int, ...], Shape], ...]] = {
    "layer_norm": (
        (False, (1, 8), (1, 256, 256)),
        (False, (1, 8), (64, 256, 256)),
        (True, (16, 64), (64, 256, 256)),
        (True, (16, 64), (32, 512, 256)),
    ),
    "rms_norm": (
        (False, (16, 64), (2048,)),
        (False, (16, 64), (4096,)),
        (True, (16, 64), (2048,)),
        (True, (16, 64), (4096,)),
    ),
}


def _robust_sample(op: str, draw: Draw, m: int, shape: Shape, standard: bool) -> Sample:
    x = draw.normal(m, *shape)
    if op == "rms_norm":
        return Sample(x, shape, draw.normal(*shape, mean=1.0, scale=0.1), None, 1e-8)
    if standard:
        return Sample(x, shape, torch.ones(shape), torch.zeros(shape))
    return Sample(x, shape, draw.normal(*shape), draw.normal(*shape))


def _before_and_after(op: str, sample: Sample) -> Check:
    """The implementation, the reference, the implementation again, all on the same tensors."""

    def check(implementation: Implementation) -> bool:
        first = implementation(sample)
        expected = in_dtype(op)(sample)
        rule = each(close(1e-5, 1e-5))
        return rule(first, expected) and rule(implementation(sample), expected)

    return check


def robust_kbench(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for backward, batches, shape in _ROBUST[op]:
        n = math.prod(shape)
        wanted = tuple(b * 1024 if op == "rms_norm" else b for b in batches)
        for m in counts(wanted, n):
            for standard in (False, True) if op == "layer_norm" else (False,):
                for _ in range(1 if n > CAP else 5):
                    sample = _robust_sample(op, draw, m, shape, standard)
                    if not backward:
                        yield _before_and_after(op, sample)
                        continue
                    dy = draw.normal(m, *shape)
                    given = Sample(sample.x, shape, sample.weight, sample.bias, sample.eps, dy)
                    yield against(given, in_dtype(op), each(close(1e-5, 1e-5)))


def hugging_face(op: str) -> Iterator[Check]:
    draw, half = Draw(0), torch.float16
    for batch, length, n in ((2, 128, 768), (4, 512, 2048), (8, 1024, 4096)):
        x = draw.normal(rows(batch * length, n), n, dtype=half)
        sample = Sample(x, (n,), torch.ones(n, dtype=half))
        yield against(sample, in_dtype(op, None), each(close(1e-5, 1e-2)))


def flashinfer_bench(op: str) -> Iterator[Check]:
    draw, n, dtype = Draw(0), 4096, torch.bfloat16
    for m in counts((1, 16, 14509), n):
        for _ in range(3):
            weight = draw.normal(n, dtype=dtype)
            sample = Sample(draw.normal(m, n, dtype=dtype), (n,), weight)
            yield against(sample, in_dtype(op), each(absolute_or_relative(1e-2, 1e-2)))


def sol(op: str) -> Iterator[Check]:
    draw, n, dtype = Draw(200), 4096, torch.bfloat16
    for m in counts((1, 16, 14509), n):
        for _ in range(10):
            x = draw.normal(m, n, dtype=dtype)
            sample = Sample(x, (n,), draw.normal(n, dtype=dtype))
            yield against(sample, in_dtype(op), each(within_fraction(1e-2, 1e-2, 0.99)))


def tritonbench(op: str) -> Iterator[Check]:
    draw, half = Draw(0), torch.float16
    if op == "layer_norm":
        for n in range(1024, 512 * 32, 512):
            weight, bias = (draw.uniform(n, low=0, high=1, dtype=half) for _ in range(2))
            x = draw.normal(rows(4096, n), n, dtype=half, mean=-2.3, scale=0.5)
            rule = each(default_close(half))
            yield against(Sample(x, (n,), weight, bias), in_dtype(op, None), rule)
        return
    for exponent in range(10, 16):
        n = 1 << exponent
        x = draw.normal(rows(2048, n), n, dtype=half)
        sample = Sample(x, (n,), torch.ones(n, dtype=half), None, 1e-6)
        yield against(sample, llama(), each(default_close(half)))


def tutorial(op: str) -> Iterator[Check]:
    draw, half, n = Draw(0), torch.float16, 8192
    x = draw.normal(rows(1151, n), n, dtype=half, mean=-2.3, scale=0.5)
    weight, bias = (draw.uniform(n, low=0, high=1, dtype=half) for _ in range(2))
    dy = draw.normal(*x.shape, dtype=half, scale=0.1)
    sample = Sample(x, (n,), weight, bias, 1e-5, dy)
    yield against(sample, in_dtype(op, None), each(close(0, 1e-2)))


_CUT = "rows cut to 2^18 elements"
_BOTH = ("layer_norm", "rms_norm")
_KB = "float32, U(0, 1), 5 trials, weight 1; rtol = atol = 1e-4"
_RKB = "float32, N(0, 1); rtol = atol = 1e-5"
PROTOCOLS = (
    *(
        Protocol("KernelBench", op, "KernelBench 423217d", "y", _KB, kernel_bench, _CUT)
        for op in _BOTH
    ),
    *(
        Protocol(
            "robust-kbench",
            op,
            "robust-kbench 078f5ba",
            "y, dx, dw, db" if op == "layer_norm" else "y, dx, dw",
            _RKB,
            robust_kbench,
            f"{_CUT}; 1 seed of 5 where a row is longer",
        )
        for op in _BOTH
    ),
    *(
        Protocol(
            "HF kernels",
            op,
            "huggingface/kernels 8ac69fc5",
            "y",
            "float16, N(0, 1), weight 1; atol 1e-2, against torch in float16",
            hugging_face,
            _CUT,
        )
        for op in _BOTH
    ),
    *(
        Protocol(
            "tritonbench",
            op,
            "tritonbench db2155c",
            "y",
            "-2.3 + 0.5 N (rms: N, weight 1), up to 32768 columns; torch's defaults",
            tritonbench,
            f"{_CUT}; float16, which is assumed",
        )
        for op in _BOTH
    ),
    Protocol(
        "Triton tutorial 05",
        "layer_norm",
        "as found in forks",
        "y, dx, dw, db",
        "float16, 8192 columns, -2.3 + 0.5 N; atol 1e-2",
        tutorial,
        _CUT,
    ),
    Protocol(
        "flashinfer-bench",
        "rms_norm",
        "flashinfer-bench 40e6ca78",
        "y",
        "bfloat16, N(0, 1), 3 trials; wrong if beyond 1e-2 on both scales",
        flashinfer_bench,
        f"{_CUT}; 4096 columns, which are assumed",
    ),
    Protocol(
        "SOL-ExecBench",
        "rms_norm",
        "SOL-ExecBench 8d2237d",
        "y",
        "bfloat16, N(0, 1), 4096 columns, 10 rounds; 1e-2 for 99 % of elements",
        sol,
        _CUT,
    ),
)
