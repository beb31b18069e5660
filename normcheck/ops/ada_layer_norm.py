"""Layer normalization modulated by a condition: Peebles, Xie, "Scalable diffusion models", 2023."""

from __future__ import annotations

import math
from dataclasses import replace

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import BIAS, EPS, WEIGHT, Family, Op, Settings, X

__all__ = ["OP"]

_MOST_SAMPLES = 4


def _shaped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (batch, tokens, features): of other ranks the rows are shared out over samples."""
    if len(shape) == 3:
        return shape
    rows, features = math.prod(shape[:-1]), shape[-1]
    samples = max((n for n in range(1, _MOST_SAMPLES + 1) if rows % n == 0), default=1)
    return (samples, rows // samples, features)


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """One statistic per token, scale and shift per sample and feature."""
    return Reduction(shape, (2,), (shape[0], 1, shape[2]), centred=True)


OP = Op(
    name="ada_layer_norm",
    summary="layer_norm(x) * (1 + weight) + bias for x (batch, tokens, features); weight (scale) "
    "and bias (shift) are (batch, features), the same for all tokens of a sample",
    parameters=(
        X,
        replace(WEIGHT, optional=False, passed=True),
        replace(BIAS, optional=False, passed=True),
        EPS,
    ),
    family=Family.ROWS,
    reduce=_reduce,
    eps=1e-6,
    one_plus=True,
    shaped=_shaped,
    parameter_shape=lambda shape: (shape[0], shape[2]),
)
