"""Tests of training libraries: apex, FlagGems."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tests.benchmarks.peers.data import DTYPES, HALVES, Draw, rows
from tests.benchmarks.peers.protocol import Check, Protocol, Sample, against
from tests.benchmarks.peers.reference import in_dtype
from tests.benchmarks.peers.rules import (
    DEFAULTS,
    Criterion,
    aggregate,
    close,
    each,
)

_APEX_FORWARD = {
    torch.float32: DEFAULTS[torch.float32],
    torch.float16: (1e-3, 1e-3),
    torch.bfloat16: (1.6e-2, 3e-4),
}
_APEX_BACKWARD = {
    "layer_norm": _APEX_FORWARD | {torch.bfloat16: (1.6e-2, 3e-3)},
    "rms_norm": _APEX_FORWARD | {torch.bfloat16: (1.6e-2, 3e-2)},
}


def _every_third(x: Tensor) -> Tensor:
    """The same values as a slice [::3, ::5, ::3] of something larger."""
    m, first, second = x.shape
    base = torch.empty((3 * m, 5 * first, 3 * second), dtype=x.dtype)
    return base[::3, ::5, ::3].copy_(x)


def apex(op: str) -> Iterator[Check]:
    draw, shape = Draw(0), (32, 16)
    for m in (16, rows(65536, 512)):
        for strided in (False, True):
            for affine in (True, False):
                for dtype in DTYPES:
                    x = draw.normal(m, *shape, dtype=dtype)
                    x = _every_third(x) if strided else x
                    weight = torch.ones(shape, dtype=dtype) if affine else None
                    bias = torch.zeros(shape, dtype=dtype) if affine and op[0] == "l" else None
                    dy = draw.normal(m, *shape, dtype=dtype)
                    backward = close(*_APEX_BACKWARD[op][dtype])
                    criteria = {"y": close(*_APEX_FORWARD[dtype]), "dx": backward}
                    criteria |= {"dweight": backward} if op == "rms_norm" else {}
                    yield _named_alone(op, Sample(x, shape, weight, bias, 1e-5, dy), criteria)


def _named_alone(op: str, sample: Sample, criteria: dict[str, Criterion]) -> Check:
    """Compare the named tensors alone."""
    reference = in_dtype(op)
    return against(
        sample,
        lambda given: {name: t for name, t in reference(given).items() if name in criteria},
        each(criteria),
    )


_FAST_SIZES = (
    768, 1024, 1536, 2048, 2304, 3072, 3840, 4096, 5120, 6144, 8192, 10240, 12288, 12800, 14336,
    15360, 16384, 18432, 20480, 24576, 25600, 30720, 32768, 40960, 49152, 65536,
)  # fmt: skip


def fast_layer_norm(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for n in _FAST_SIZES:
        m = rows(512, n)
        for dtype in DTYPES:
            x, dy = draw.normal(m, n, dtype=dtype), draw.normal(m, n, dtype=dtype)
            weight, bias = (draw.normal(n, dtype=dtype, scale=0.2) for _ in range(2))
            limit = 2e-2 if dtype in HALVES else 1e-5
            sample = Sample(x, (n,), weight, bias, 1e-5, dy)
            yield against(sample, in_dtype(op), each(aggregate(limit)))


_GEMS = ((200, 36), (4096, 100), (1, 40999), (100, 40499), (4096, 256))
_GEMS_RTOL = {torch.float16: 1e-3, torch.float32: 1.3e-6, torch.bfloat16: 1.6e-2}


def flag_gems_layer(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for m, n in _GEMS:
        m = rows(m, n)
        for dtype, rtol in _GEMS_RTOL.items():
            for affine in (True, False):
                pair = (draw.normal(n, dtype=dtype), draw.normal(n, dtype=dtype))
                given = pair if affine else (None, None)
                sample = Sample(draw.normal(m, n, dtype=dtype), (n,), *given)
                yield against(sample, in_dtype(op, torch.float64), each(close(rtol, 1e-4)))


def _gems_rms(m: int, n: int, dtype: torch.dtype, draw: Draw, *, gradients: bool) -> Sample:
    x = draw.uniform(m, n, low=-0.1, high=0.1, dtype=dtype)
    dy = draw.uniform(m, n, low=-0.01, high=0.01, dtype=dtype) if gradients else None
    return Sample(x, (n,), draw.uniform(n, low=-0.1, high=0.1, dtype=dtype), None, 1e-5, dy)


def flag_gems_rms(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for m, n in _GEMS:
        for dtype, rtol in _GEMS_RTOL.items():
            one, many = close(rtol, 1e-4), close(rtol, 1e-4 * n)
            sample = _gems_rms(rows(m, n), n, dtype, draw, gradients=True)
            yield against(sample, in_dtype(op), each({"y": one, "dx": one, "dweight": many}))


def flag_gems_modules(op: str) -> Iterator[Check]:
    draw, n = Draw(0), 1024
    for m in (1, 200):
        for dtype, rtol in _GEMS_RTOL.items():
            sample = _gems_rms(m, n, dtype, draw, gradients=False)
            yield against(sample, in_dtype(op), each(close(rtol, 1e-4 * n)))


_CUT = "rows cut to 2^18 elements"
_JUDGED = {"layer_norm": "y, dx", "rms_norm": "y, dx, dw"}
PROTOCOLS = (
    *(
        Protocol(
            "apex",
            op,
            "apex 6424da3b",
            judged,
            "N(0, 1), 32 x 16, weight 1, contiguous and strided; torch's defaults, halves 1e-3",
            apex,
            f"{_CUT}; compiled, autocast and memory-efficient variants",
        )
        for op, judged in _JUDGED.items()
    ),
    Protocol(
        "apex FastLN",
        "layer_norm",
        "apex 6424da3b",
        "y, dx, dw, db",
        "N(0, 1), 768 to 65536 columns; sum of errors below 1e-5 or 2e-2 of the sum of values",
        fast_layer_norm,
        f"{_CUT}; saved statistics",
    ),
    Protocol(
        "FlagGems",
        "layer_norm",
        "FlagGems 532ff438",
        "y",
        "N(0, 1), 36 to 40999 columns; torch's rtol, atol 1e-4, against float64",
        flag_gems_layer,
        f"{_CUT}; the backward, which is fed random statistics",
    ),
    Protocol(
        "FlagGems",
        "rms_norm",
        "FlagGems 532ff438",
        "y, dx, dw",
        "U(-.1, .1), 36 to 40999 columns; torch's rtol, atol 1e-4, of dw 1e-4 n",
        flag_gems_rms,
        _CUT,
    ),
    Protocol(
        "FlagGems modules",
        "rms_norm",
        "FlagGems 532ff438",
        "y",
        "U(-.1, .1), 1024 columns; torch's rtol, atol 0.1",
        flag_gems_modules,
        "1 and 200 rows, which are assumed",
    ),
)
