"""Layer normalization of queries and keys, per head: Henry et al., 2020; ViT-22B."""

from __future__ import annotations

from normcheck.ops.op import BIAS, EPS, WEIGHT, Family, Op, X
from normcheck.ops.pairs import PARTS, pair_shape, reduction_of_pairs, vectors

__all__ = ["OP"]

OP = Op(
    name="qk_layer_norm",
    summary="layer_norm of each head of q and of k, (batch, tokens, heads, features) each, with "
    "weight and bias of their own; returns (q, k)",
    parameters=(X, WEIGHT, BIAS, EPS),
    family=Family.ROWS,
    reduce=reduction_of_pairs(centred=True),
    parts=PARTS,
    shaped=pair_shape,
    parameter_shape=vectors,
)
