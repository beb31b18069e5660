"""RMS normalization of queries and keys, per head: as in Qwen3, OLMo 2 and Gemma 3.

For one tensor and one weight this is rms_norm.
"""

from __future__ import annotations

from normcheck.ops.op import EPS, WEIGHT, Family, Op, X
from normcheck.ops.pairs import PARTS, pair_shape, reduction_of_pairs, vectors

__all__ = ["OP"]

OP = Op(
    name="qk_norm",
    summary="rms_norm of each head of q and of k, (batch, tokens, heads, features) each, with a "
    "weight of their own; returns (q, k). Cases stack the two: (2, batch, tokens, heads, features)",
    parameters=(X, WEIGHT, EPS),
    family=Family.ROWS,
    reduce=reduction_of_pairs(centred=False),
    eps=1e-6,
    parts=PARTS,
    shaped=pair_shape,
    parameter_shape=vectors,
)
