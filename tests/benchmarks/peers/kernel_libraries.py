"""Tests of kernel libraries that judge gradients too: Liger, quack, flash-attention."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.benchmarks.peers.data import DTYPES, HALVES, Draw, counts, rows
from tests.benchmarks.peers.protocol import (
    Check,
    Implementation,
    Protocol,
    Result,
    Rule,
    Sample,
    against,
)
from tests.benchmarks.peers.reference import differentiated, in_dtype, llama
from tests.benchmarks.peers.rules import Criterion, close, each

_LIGER = {
    "layer_norm": (
        ((2, 8, 64), (4, 16, 128), (1, 1, 1023), (3, 7, 256), (1, 1, 1500)),
        {torch.float32: (1e-5, 1e-5), torch.bfloat16: (2e-2, 2e-2)},
    ),
    "rms_norm": (
        ((2, 128, 512), (5, 123, 123)),
        {torch.float32: (1e-6, 1e-4), torch.bfloat16: (2e-2, 2e-1)},
    ),
}


def liger(op: str) -> Iterator[Check]:
    draw = Draw(42)
    shapes, tolerances = _LIGER[op]
    reference = in_dtype(op, None) if op == "layer_norm" else llama()
    for size in shapes:
        for dtype, (rtol, atol) in tolerances.items():
            n = size[-1]
            x, dy = draw.normal(*size, dtype=dtype), draw.normal(*size, dtype=dtype)
            bias = torch.zeros(n, dtype=dtype) if op == "layer_norm" else None
            sample = Sample(x, (n,), torch.ones(n, dtype=dtype), bias, 1e-6, dy)
            yield against(sample, reference, each(close(rtol, atol, same_dtype=False)))


_RMS_ATOL = {torch.bfloat16: 1e-1, torch.float16: 1e-2, torch.float32: 1e-4}


def _relative_to_largest(dtype: torch.dtype) -> Criterion:
    """Two units of the dtype, of the largest element."""

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        atol = 2 * torch.finfo(dtype).eps * float(expected.abs().max())
        return close(1e-3, atol)(computed, expected)

    return criterion


def quack_rms(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in (192, 256, 760, 1024, 1128, 4096, 32768, 131072, 262144):
        for m in counts((1, 199, 8192), n):
            for dtype in DTYPES:
                for weight_dtype in (torch.bfloat16, torch.float32, None):
                    x, dy = draw.normal(m, n, dtype=dtype), draw.normal(m, n, dtype=dtype)
                    weight = None if weight_dtype is None else draw.normal(n, dtype=weight_dtype)
                    rule = close(1e-3, _RMS_ATOL[dtype])
                    dw = close(1e-3, 5e-6 * math.sqrt(m))
                    if weight_dtype not in (torch.float32, None):
                        dw = _relative_to_largest(weight_dtype)
                    sample = Sample(x, (n,), weight, None, 1e-6, dy)
                    yield against(
                        sample, in_dtype(op), each({"y": rule, "dx": rule, "dweight": dw})
                    )


_LAYER_TOLERANCE = {torch.bfloat16: 1e-2, torch.float16: 1e-3, torch.float32: 1e-4}
_LAYER_DX = {torch.bfloat16: 2e-2, torch.float16: 5e-3, torch.float32: 1e-4}


def _masked_lanes(op: str) -> Check:
    """Rows around 1000, 1100, ... of 769 columns, two deviations of +-1 apart."""
    n = 769
    saw = 1.0 - 2.0 * (torch.arange(n) % 2)
    x = 1000.0 + 100.0 * torch.arange(4.0)[:, None] + saw
    sample = Sample(x, (n,), torch.ones(n), torch.zeros(n), 1e-6)
    return against(sample, in_dtype(op), each(close(1e-4, 1e-4)))


def quack_layer(op: str) -> Iterator[Check]:
    yield _masked_lanes(op)
    draw = Draw(0)
    powers = [1 << exponent for exponent in range(8, 19)]
    for n in sorted([*powers, 760, 1128]):
        for m in counts((1, 37, 199, 4096), n):
            for dtype in DTYPES:
                for has_bias in (False, True):
                    x, dy = draw.normal(m, n, dtype=dtype), draw.normal(m, n, dtype=dtype)
                    bias = draw.normal(n) if has_bias else None
                    scale = 5e-6 if dtype == torch.float32 else 1e-3
                    sums = close(1e-3, scale * math.sqrt(m))
                    forward, dx = _LAYER_TOLERANCE[dtype], _LAYER_DX[dtype]
                    rule = each(
                        {
                            "y": close(forward, forward),
                            "dx": close(dx, dx),
                            "dweight": sums,
                            "dbias": sums,
                        }
                    )
                    sample = Sample(x, (n,), draw.normal(n), bias, 1e-6, dy)
                    yield against(sample, in_dtype(op), rule)


def _yardstick(op: str, sample: Sample) -> tuple[Result, Result]:
    """The formula in the given dtypes, and in float32 with the result converted."""
    assert sample.weight is not None, "every sample of the protocol has one"
    given = in_dtype(op, None) if op == "layer_norm" else differentiated(_rms_as_given)
    return given(sample), in_dtype(op)(sample)


def _rms_as_given(sample: Sample) -> Tensor:
    assert sample.weight is not None, "every sample of the protocol has one"
    root = torch.rsqrt(sample.x.square().mean(-1, keepdim=True) + sample.eps)
    return (sample.x * root * sample.weight).to(sample.x.dtype)


def _twice_the_error(given: Result, atol: float) -> Rule:
    def rule(computed: Result, expected: Result) -> bool:
        for name, right in expected.items():
            found = computed.get(name)
            if found is None or found.dtype != right.dtype:
                return False
            yardstick = (given[name].float() - right.float()).abs().nan_to_num(0.0).max()
            if not bool((found.float() - right.float()).abs().max() <= 2 * yardstick + atol):
                return False
        return True

    return rule


def flash_attention(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in (192, 2048, 2560, 3000, 4096):
        m = rows(4096, n)
        for dtype in DTYPES:
            for weight_dtype in (torch.float32, *HALVES):
                x = draw.normal(m, n, dtype=dtype)
                dy = draw.normal(m, n, dtype=dtype, scale=1 / 8)
                weight = draw.normal(n, dtype=weight_dtype)
                bias = draw.normal(n, dtype=weight_dtype) if op == "layer_norm" else None
                yield _judged_by_twice(op, Sample(x, (n,), weight, bias, 1e-6, dy))


def _judged_by_twice(op: str, sample: Sample) -> Check:
    assert sample.weight is not None, "every sample of the protocol has one"
    dtypes = {sample.x.dtype, sample.weight.dtype}
    atol = 5e-2 if torch.bfloat16 in dtypes else 1e-2 if torch.float16 in dtypes else 1e-4

    known: list[tuple[Result, Result]] = []

    def check(implementation: Implementation) -> bool:
        given, expected = known[0] if known else _yardstick(op, sample)
        known[:] = [(given, expected)]
        computed = implementation(sample)
        wanted = {"y": expected["y"]} if implementation.forward_only else expected
        return _twice_the_error(given, atol)(computed, wanted)

    return check


_LIGER_SOURCE, _QUACK = "Liger-Kernel ead96b61", "quack c8ec317"
_FLASH_RULE = "N(0, 1), 192 to 4096 columns; 2 x the error of torch in the given dtypes + atol"
_CUT = "rows cut to 2^18 elements"
PROTOCOLS = (
    Protocol(
        "Liger",
        "layer_norm",
        _LIGER_SOURCE,
        "y, dx, dw, db",
        "N(0, 1), weight 1, bias 0; float32 1e-5, bfloat16 2e-2, against torch in the same dtype",
        liger,
    ),
    Protocol(
        "Liger",
        "rms_norm",
        _LIGER_SOURCE,
        "y, dx, dw",
        "N(0, 1), weight 1; float32 1e-4, bfloat16 2e-1, against Llama's order of rounding",
        liger,
        "other casting modes, which the kernel is told",
    ),
    Protocol(
        "quack",
        "layer_norm",
        _QUACK,
        "y, dx, dw, db",
        "N(0, 1), 256 to 262144 columns; 1e-2, 1e-3, 1e-4 by dtype; 769 columns around 1000",
        quack_layer,
        f"{_CUT}; saved statistics",
    ),
    Protocol(
        "quack",
        "rms_norm",
        _QUACK,
        "y, dx, dw",
        "N(0, 1), 192 to 262144 columns; atol 1e-1, 1e-2, 1e-4 by dtype, rtol 1e-3",
        quack_rms,
        f"{_CUT}; compiled, residual, per-head and offset variants",
    ),
    *(
        Protocol(
            "flash-attention",
            op,
            "flash-attention 0251105a",
            "y, dx, dw, db" if op == "layer_norm" else "y, dx, dw",
            _FLASH_RULE,
            flash_attention,
            f"{_CUT}; residual, dropout and parallel variants",
        )
        for op in ("layer_norm", "rms_norm")
    ),
)
