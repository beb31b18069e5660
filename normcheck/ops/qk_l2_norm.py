"""L2 normalization of queries and keys, per head, as of cosine attention and the delta rule."""

from __future__ import annotations

from normcheck.numerics.reduction import EpsPlace
from normcheck.ops.op import EPS, Family, Op, X
from normcheck.ops.pairs import PARTS, pair_shape, reduction_of_pairs

__all__ = ["OP"]

OP = Op(
    name="qk_l2_norm",
    summary="l2_norm of each head of q and of k, (batch, tokens, heads, features) each; returns "
    "(q, k)",
    parameters=(X, EPS),
    family=Family.ROWS,
    reduce=reduction_of_pairs(centred=False, affine=False, summed=True),
    eps=1e-12,
    eps_place=EpsPlace.FLOOR,
    parts=PARTS,
    shaped=pair_shape,
)
