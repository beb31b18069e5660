"""TransformerEngine's tests: fusible operations, C++ kernels, and the numerics of modules."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tests.benchmarks.peers.data import DTYPES, Draw, rows
from tests.benchmarks.peers.protocol import (
    Check,
    Implementation,
    Protocol,
    Result,
    Rule,
    Sample,
    against,
)
from tests.benchmarks.peers.reference import in_dtype
from tests.benchmarks.peers.rules import DEFAULTS, close, default_close, each, not_beyond_both

_OPS_SHAPES = {"layer_norm": ((7, 2), (32,)), "rms_norm": ((19,), (64,))}


def te_ops(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for shape in _OPS_SHAPES[op]:
        for size in (shape, (6, 16, *shape)):
            for dtype in DTYPES:
                x, dy = (draw.uniform(*size, low=0, high=1, dtype=dtype) for _ in range(2))
                weight, bias = (draw.uniform(*shape, low=0, high=1, dtype=dtype) for _ in range(2))
                sample = Sample(x, shape, weight, bias if op == "layer_norm" else None, 0.3, dy)
                yield against(sample, in_dtype(op, torch.float64), each(default_close(dtype)))


_CPP = {
    torch.float32: (5e-7, 5e-6),
    torch.float16: (1e-5, 1e-3),
    torch.bfloat16: (1e-5, 1e-2),
}


def _implied(op: str, sample: Sample, y: Tensor) -> tuple[Tensor, Tensor]:
    """Fit mean and reciprocal root to each row of y, by least squares in float64."""
    assert sample.weight is not None, "every sample of the protocol has one"
    x, weight = sample.x.double(), sample.weight.double()
    target = y.double() - (0.0 if sample.bias is None else sample.bias.double())
    centre = x.mean(-1, keepdim=True) if op == "layer_norm" else x.new_zeros(len(x), 1)
    slope, level = (x - centre) * weight, weight.expand_as(x)

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(-1, keepdim=True)

    if op == "rms_norm":
        return centre, dot(slope, target) / dot(slope, slope)
    ss, sl, ll = dot(slope, slope), dot(slope, level), dot(level, level)
    st, lt = dot(slope, target), dot(level, target)
    root = (st * ll - lt * sl) / (ss * ll - sl * sl)
    return centre - (lt - root * sl) / ll / root, root


def _from_statistics(op: str, sample: Sample, mean: Tensor, root: Tensor) -> Result:
    """Output and gradients of given statistics, in float64, converted to float32."""
    assert sample.weight is not None, "every sample of the protocol has one"
    assert sample.dy is not None, "every sample of the protocol has one"
    normalised = (sample.x.double() - mean) * root
    dy, g = sample.dy.double(), sample.dy.double() * sample.weight.double()
    projected = normalised * (g * normalised).mean(-1, keepdim=True)
    centred = g - g.mean(-1, keepdim=True) if op == "layer_norm" else g
    y = normalised * sample.weight.double()
    found = {"dx": root * (centred - projected), "dweight": (dy * normalised).sum(0)}
    if sample.bias is not None:
        y = y + sample.bias.double()
        found["dbias"] = dy.sum(0)
    return {name: t.float() for name, t in ({"y": y} | found).items()}


def _with_own_statistics(op: str, sample: Sample) -> Check:
    """Judge statistics by themselves, and the rest by what follows from them."""
    statistic = not_beyond_both(1e-6, 5e-5, torch.float32)

    def check(implementation: Implementation) -> bool:
        right = _statistics(op, sample)
        computed = implementation(sample)
        if computed["y"].shape != sample.x.shape:
            return False
        own = _implied(op, sample, computed["y"])
        if not all(statistic(a, b) for a, b in zip(own, right, strict=True)):
            return False
        expected = _from_statistics(op, sample, *own)
        wanted = {"y": expected["y"]} if implementation.forward_only else expected
        return _rule(torch.float32)(computed, wanted)

    return check


def _statistics(op: str, sample: Sample) -> tuple[Tensor, Tensor]:
    x = sample.x.double()
    mean = x.mean(-1, keepdim=True) if op == "layer_norm" else x.new_zeros(len(x), 1)
    square = (x - mean).square().mean(-1, keepdim=True)
    return mean, torch.rsqrt(square + sample.eps)


def _rule(dtype: torch.dtype) -> Rule:
    gradient = not_beyond_both(5e-4, 5e-4, dtype)
    criteria = dict.fromkeys(("dx", "dweight", "dbias"), gradient)
    return each({"y": not_beyond_both(*_CPP[dtype], dtype), **criteria})


def te_cpp(op: str) -> Iterator[Check]:
    draw = Draw(0)
    for m, n in ((71, 229), (29, 541), (768, 6144), (2048, 12288)):
        m = rows(m, n)
        for dtype in DTYPES:
            x, dy = (draw.uniform(m, n, low=-2, high=1, dtype=dtype) for _ in range(2))
            weight, bias = (draw.uniform(n, low=-2, high=1, dtype=dtype) for _ in range(2))
            sample = Sample(x, (n,), weight, bias if op == "layer_norm" else None, 1e-5, dy)
            if dtype == torch.float32:
                yield _with_own_statistics(op, sample)
            else:
                # An output in half precision does not say its statistics to 5e-5.
                yield against(sample, in_dtype(op), _rule(dtype))


def te_numerics(op: str) -> Iterator[Check]:
    draw, n = Draw(0), 768
    atols = {torch.float32: 1e-7, torch.float16: 2e-3, torch.bfloat16: 2e-2}
    for m in (256, rows(4096, n)):
        for eps in (1e-1, 1e-3, 1e-5, 1e-7):
            for dtype, atol in atols.items():
                bias = torch.zeros(n, dtype=dtype) if op == "layer_norm" else None
                x = draw.normal(m, n, dtype=dtype)
                sample = Sample(x, (n,), torch.ones(n, dtype=dtype), bias, eps)
                rtol, _ = DEFAULTS[dtype]
                yield against(sample, in_dtype(op, None), each(close(rtol, atol)))


_CUT = "rows cut to 2^18 elements"
_SOURCE = "TransformerEngine d0067d0d"
_ALL = {"layer_norm": "y, dx, dw, db", "rms_norm": "y, dx, dw"}
_KINDS = (
    (
        "TransformerEngine ops",
        _ALL,
        "up to 6144 elements, U(0, 1), eps 0.3; torch's defaults, against float64",
        te_ops,
        "fp8 recipes",
    ),
    (
        "TransformerEngine C++",
        _ALL,
        "U(-2, 1), 229 to 12288 columns; 5e-7 or 5e-6 and wider by dtype; NaN is no mismatch",
        te_cpp,
        f"{_CUT}; the kernel's statistics are fitted to its float32 output",
    ),
    (
        "TransformerEngine numerics",
        {"layer_norm": "y", "rms_norm": "y"},
        "N(0, 1), 768 columns, weight 1, eps 1e-7 to 1e-1; atol 1e-7 to 2e-2, torch's rtol",
        te_numerics,
        f"{_CUT}; gradients, whose tolerance is not known here",
    ),
)
PROTOCOLS = tuple(
    Protocol(name, op, _SOURCE, judged[op], rule, make, cut)
    for name, judged, rule, make, cut in _KINDS
    for op in ("layer_norm", "rms_norm")
)
