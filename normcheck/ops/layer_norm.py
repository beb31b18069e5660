"""Layer normalization over the trailing dimensions: Ba, Kiros, Hinton, 2016."""

from __future__ import annotations

from normcheck.ops.op import BIAS, EPS, NORMALIZED_SHAPE, WEIGHT, Family, Op, X
from normcheck.ops.rows import over_trailing_dimensions

__all__ = ["OP"]

OP = Op(
    name="layer_norm",
    summary="(x - mean x) / sqrt(var x + eps) * weight + bias over the last dimensions",
    parameters=(X, NORMALIZED_SHAPE, WEIGHT, BIAS, EPS),
    family=Family.ROWS,
    reduce=over_trailing_dimensions(centred=True),
)
