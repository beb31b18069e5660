"""Weight normalization: Salimans, Kingma, 2016; torch's ``_weight_norm(v, g, dim=0)``."""

from __future__ import annotations

import math
from dataclasses import replace

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import WEIGHT, Family, Op, Settings, X

__all__ = ["OP"]


def _shaped(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """A direction without a second dimension, or an empty one, has no norm."""
    return shape if len(shape) > 1 and (0 not in shape[1:] or shape[0] == 0) else None


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """View (rows, everything else); one magnitude per row, no epsilon: a zero row is 0/0."""
    view = (shape[0], math.prod(shape[1:]))
    return Reduction(view, (1,), (shape[0], 1), centred=False, summed=True)


OP = Op(
    name="weight_norm",
    summary="weight * x / sqrt(sum x^2) over all dimensions but the first, a weight per row (the "
    "magnitude g of the direction v) of shape (rows, 1, ...); rows of zeros, 0/0, are not judged",
    parameters=(X, replace(WEIGHT, optional=False, passed=True)),
    family=Family.ROWS,
    reduce=_reduce,
    eps=0.0,
    axis=0,
    shaped=_shaped,
    parameter_shape=lambda shape: (shape[0], *(1 for _ in shape[1:])),
)
