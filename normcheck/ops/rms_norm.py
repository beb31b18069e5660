"""Root-mean-square normalization: Zhang, Sennrich, 2019."""

from __future__ import annotations

from normcheck.ops.op import EPS, NORMALIZED_SHAPE, WEIGHT, Family, Op, X
from normcheck.ops.rows import over_trailing_dimensions

__all__ = ["OP"]

OP = Op(
    name="rms_norm",
    summary="x / sqrt(mean x^2 + eps) * weight over the last dimensions",
    parameters=(X, NORMALIZED_SHAPE, WEIGHT, EPS),
    family=Family.ROWS,
    reduce=over_trailing_dimensions(centred=False),
    eps=1e-6,
)
