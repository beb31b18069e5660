"""RMS normalization with a SiLU gate: Dao, Gu, Mamba-2, 2024; Qwen3-Next, Gated DeltaNet."""

from __future__ import annotations

import math

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import EPS, GATE, WEIGHT, Family, Kind, Op, Parameter, Settings, X

__all__ = ["OP"]


def _reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
    """View (rows, groups, elements of a group); the last dimension is cut into groups."""
    groups = settings.groups
    view = (math.prod(shape[:-1]), groups, shape[-1] // groups)
    return Reduction(view, (2,), (1, groups, shape[-1] // groups), centred=False)


OP = Op(
    name="rms_norm_gated",
    summary="rms_norm(x, weight) * silu(z) over groups of group_size elements of the last "
    "dimension; --policy gate=before declares rms_norm(x * silu(z), weight)",
    parameters=(X, GATE, WEIGHT, Parameter("group_size", Kind.INTEGER, optional=True), EPS),
    family=Family.ROWS,
    reduce=_reduce,
)
