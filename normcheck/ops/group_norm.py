"""Group normalization: Wu, He, 2018."""

from __future__ import annotations

import math

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import BIAS, EPS, WEIGHT, Family, Kind, Op, Parameter, Settings, X

__all__ = ["OP"]


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """View (samples, groups, channels of a group, positions); one statistic per group."""
    samples, channels, positions = shape[0], shape[1], math.prod(shape[2:])
    groups = settings.groups
    view = (samples, groups, channels // groups, positions)
    return Reduction(view, (2, 3), (1, groups, channels // groups, 1), centred=True)


OP = Op(
    name="group_norm",
    summary="layer_norm over each group of channels of (N, C, *), weight and bias per channel",
    parameters=(X, Parameter("num_groups", Kind.INTEGER), WEIGHT, BIAS, EPS),
    family=Family.CHANNELS,
    reduce=_reduce,
)
