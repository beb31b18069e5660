"""Tests of inference libraries: flashinfer, vLLM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tests.benchmarks.peers.data import DTYPES, Draw, counts
from tests.benchmarks.peers.protocol import Check, Implementation, Protocol, Sample, against
from tests.benchmarks.peers.reference import in_dtype, llama
from tests.benchmarks.peers.rules import DEFAULTS, close, each, unchanged


def flashinfer_rms(op: str) -> Iterator[Check]:
    draw, half = Draw(0), torch.float16
    for n in (111, 500, 1024, 3072, 3584, 4096, 8192, 16384):
        for m in counts((1, 19, 99, 989), n):
            for contiguous in (True, False):
                x = draw.normal(m, n if contiguous else 2 * n, dtype=half)[:, :n]
                sample = Sample(x, (n,), draw.normal(n, dtype=half), None, 1e-6)
                yield against(sample, in_dtype(op), each(close(1e-3, 1e-3)))


def flashinfer_layer(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in (128, 129, 1024, 16384):
        for m in (1, 2, 3, 128):
            x = draw.normal(m, n, dtype=torch.bfloat16)
            sample = Sample(x, (n,), draw.normal(n), draw.normal(n), 1e-6)
            yield against(sample, in_dtype(op), each(close(1e-2, 1e-2)))


def _opcheck(sample: Sample) -> Check:
    """Of opcheck, what concerns values: no argument is written, none is returned."""

    def check(implementation: Implementation) -> bool:
        before = {name: tensor.clone() for name, tensor in sample.leaves.items()}
        y = implementation(sample)["y"]
        owners = {t.untyped_storage().data_ptr() for t in sample.leaves.values()}
        return unchanged(before, sample.leaves) and y.untyped_storage().data_ptr() not in owners

    return check


def vllm_core(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in (8, 768, 769, 5120, 5125, 8192):
        for m in counts((7, 83, 4096), n):
            for dtype in DTYPES:
                for strided in (False, True):
                    width = 2 * n if strided else n
                    x = draw.normal(m, width, scale=1 / (2 * n)).to(dtype)[:, :n]
                    weight = draw.normal(n, dtype=dtype, mean=1.0, scale=0.1)
                    sample = Sample(x, (n,), weight, None, 1e-6)
                    yield against(sample, llama(), each(close(1e-2, 1e-2)))
                    yield _opcheck(sample)


def _without_weight_is_ones(sample: Sample) -> Check:
    def check(implementation: Implementation) -> bool:
        ones = replace(sample, weight=torch.ones(sample.shape, dtype=sample.x.dtype))
        bare = implementation(replace(sample, weight=None))
        rtol, _ = DEFAULTS[sample.x.dtype]
        return each(close(rtol, 1e-3))(bare, implementation(ones))

    return check


def vllm_ir(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in (16, 4096, 8192):
        for m in (1, 8, 17):
            for eps in (1e-6, 1e-5):
                for dtype in DTYPES:
                    weight = draw.normal(n, dtype=dtype)
                    sample = Sample(draw.normal(m, n, dtype=dtype), (n,), weight, None, eps)
                    rtol, _ = DEFAULTS[dtype]
                    yield against(sample, llama(), each(close(rtol, 1e-3)))
                    yield _without_weight_is_ones(sample)
                    yield _opcheck(sample)


def _row_alone(sample: Sample) -> Check:
    def check(implementation: Implementation) -> bool:
        alone = implementation(replace(sample, x=sample.x[:1].clone()))["y"]
        return torch.equal(alone, implementation(sample)["y"][:1])

    return check


def _five_runs(sample: Sample) -> Check:
    def check(implementation: Implementation) -> bool:
        first = implementation(sample)["y"]
        return all(torch.equal(first, implementation(sample)["y"]) for _ in range(4))

    return check


def _extreme(draw: Draw, n: int) -> Iterator[Tensor]:
    half = torch.float16
    yield torch.full((4, n), 1e-5, dtype=half)
    yield torch.full((4, n), 1e4, dtype=half)
    yield draw.normal(4, n, dtype=half, scale=100.0)
    yield draw.normal(4, n, dtype=half, scale=1e-6)


def vllm_invariant(op: str) -> Iterator[Check]:
    draw = Draw(0)
    tolerances = {torch.bfloat16: 1e-1, torch.float16: 1e-2}
    for n in (512, 1024, 2048, 4096, 8192):
        for m in counts((1, 4, 64, 300), n):
            for dtype, tolerance in tolerances.items():
                x, weight = draw.normal(m, n, dtype=dtype), draw.normal(n, dtype=dtype)
                sample = Sample(x, (n,), weight, None, 1e-6)
                yield against(sample, llama(), each(close(tolerance, tolerance)))
                yield _row_alone(sample)
        yield _five_runs(Sample(draw.normal(32, n), (n,), draw.normal(n), None, 1e-6))
    ones = torch.ones(2048, dtype=torch.float16)
    for x in _extreme(draw, 2048):
        sample = Sample(x, (2048,), ones, None, 1e-6)
        yield against(sample, llama(), each(close(0.2, 0.2)))
    sample = Sample(draw.normal(4, 2048), (2048,), draw.normal(2048), None, 1e-6)
    yield against(sample, in_dtype(op), each(close(1e-4, 1e-4)))


_FLASHINFER, _VLLM = "flashinfer fb28d7242", "vLLM 041b9f54"


def _rms(
    name: str, source: str, rule: str, make: Callable[[str], Iterator[Check]], cut: str
) -> Protocol:
    return Protocol(name, "rms_norm", source, "y", rule, make, cut)


PROTOCOLS = (
    Protocol(
        "flashinfer",
        "layer_norm",
        _FLASHINFER,
        "y",
        "bfloat16, N(0, 1), 128 to 16384 columns; rtol = atol = 1e-2",
        flashinfer_layer,
        "rows cut to 2^18 elements",
    ),
    _rms(
        "flashinfer",
        _FLASHINFER,
        "float16, N(0, 1), 111 to 16384 columns; rtol = atol = 1e-3",
        flashinfer_rms,
        "rows cut to 2^18 elements; out=, offsets past 2^31",
    ),
    _rms(
        "vLLM core",
        _VLLM,
        "N(0, 1) / 2n, 8 to 8192 columns; rtol = atol = 1e-2; arguments unchanged",
        vllm_core,
        "rows cut to 2^18 elements",
    ),
    _rms(
        "vLLM ir",
        _VLLM,
        "N(0, 1), 16 to 8192 columns, two eps; torch's rtol, atol 1e-3",
        vllm_ir,
        "scaling property, which is asked of vLLM's own reference",
    ),
    _rms(
        "vLLM batch-invariant",
        _VLLM,
        "N(0, 1): 1e-1 and 1e-2; constants, 100 N, 1e-6 N: 20 %; rows and reruns bit-equal",
        vllm_invariant,
        "rows cut to 2^18 elements; residual and fp8 paths",
    ),
)
