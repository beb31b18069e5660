"""Residual addition fused with RMS normalization, as in the blocks of a pre-norm transformer."""

from __future__ import annotations

from normcheck.ops.op import EPS, RESIDUAL, WEIGHT, Family, Op, X
from normcheck.ops.rows import over_trailing_dimensions

__all__ = ["OP"]

OP = Op(
    name="add_rms_norm",
    summary="s = x + residual; y = s / sqrt(mean s^2 + eps) * weight; returns (y, s)",
    parameters=(X, RESIDUAL, WEIGHT, EPS),
    family=Family.ROWS,
    reduce=over_trailing_dimensions(centred=False),
    eps=1e-6,
    outputs=("y", "residual_out"),
)
