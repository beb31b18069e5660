"""Batch normalization of padded sequences: statistics over the valid positions only."""

from __future__ import annotations

import math

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import (
    BIAS,
    EPS,
    MASK,
    MOMENTUM,
    RUNNING,
    WEIGHT,
    Family,
    Kind,
    Op,
    Parameter,
    Settings,
    X,
)

__all__ = ["OP"]


def _shaped(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(shape) < 2:
        return None
    return (shape[0], shape[1], math.prod(shape[2:]))


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """View (samples, channels, positions); a mask says which positions count."""
    return Reduction(shape, (0, 2), (1, shape[1], 1), centred=True)


OP = Op(
    name="masked_batch_norm",
    summary="batch_norm of (N, C, L) over the positions where mask (N, L) is true; what is "
    "returned at the others is not judged, but no gradient may reach them",
    parameters=(
        X,
        MASK,
        *RUNNING,
        WEIGHT,
        BIAS,
        Parameter("training", Kind.FLAG),
        MOMENTUM,
        EPS,
    ),
    family=Family.CHANNELS,
    reduce=_reduce,
    training_flag="training",
    shaped=_shaped,
)
