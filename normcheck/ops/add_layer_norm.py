"""Residual addition fused with layer normalization."""

from __future__ import annotations

from normcheck.ops.op import BIAS, EPS, RESIDUAL, WEIGHT, Family, Op, X
from normcheck.ops.rows import over_trailing_dimensions

__all__ = ["OP"]

OP = Op(
    name="add_layer_norm",
    summary="s = x + residual; y = layer_norm(s, weight, bias, eps); returns (y, s)",
    parameters=(X, RESIDUAL, WEIGHT, BIAS, EPS),
    family=Family.ROWS,
    reduce=over_trailing_dimensions(centred=True),
    outputs=("y", "residual_out"),
)
