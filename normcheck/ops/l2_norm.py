"""L2 normalization of the last dimension, as of queries and keys."""

from __future__ import annotations

from normcheck.numerics.reduction import EpsPlace
from normcheck.ops.op import EPS, Family, Op, X
from normcheck.ops.rows import over_trailing_dimensions

__all__ = ["OP"]

OP = Op(
    name="l2_norm",
    summary="x / max(sqrt(sum x^2), eps) over the last dimension",
    parameters=(X, EPS),
    family=Family.ROWS,
    reduce=over_trailing_dimensions(centred=False, affine=False, summed=True),
    eps=1e-12,
    eps_place=EpsPlace.FLOOR,
)
