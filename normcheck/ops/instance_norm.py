"""Instance normalization: Ulyanov, Vedaldi, Lempitsky, 2016."""

from __future__ import annotations

import math

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import (
    BIAS,
    EPS,
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


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """View (samples, channels, positions); one statistic per channel of each sample."""
    view = (shape[0], shape[1], math.prod(shape[2:]))
    return Reduction(view, (2,), (1, shape[1], 1), centred=True)


OP = Op(
    name="instance_norm",
    summary="(x - mean) / sqrt(var + eps) * weight + bias per sample and channel of (N, C, *)",
    parameters=(
        X,
        *RUNNING,
        WEIGHT,
        BIAS,
        Parameter("use_input_stats", Kind.FLAG),
        MOMENTUM,
        EPS,
    ),
    family=Family.CHANNELS,
    reduce=_reduce,
    training_flag="use_input_stats",
)
