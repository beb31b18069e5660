"""A residual addition and RMS normalization of the sum, in one pass."""

from __future__ import annotations

from torch import Tensor

from normcheck.kernels._row_norm import row_norm

__all__ = ["add_rms_norm"]


def add_rms_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> tuple[Tensor, Tensor]:
    """Return s = x + residual normalised over its last dimension, and s; both contiguous.

    s is rounded to x's dtype, and what is normalised is the rounded one: backward has no other.

    Args:
        x: ``(*, columns)``; any strides.
        residual: As x.
        weight: ``(columns,)``; any floating point dtype.
        eps: Added to the mean square.
        zero_centered: Whether the normalised x is multiplied by 1 + weight, as Gemma's is.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight, as Llama's does.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: x is not floating point.
    """
    return row_norm(
        "rms", x, residual=residual, weight=weight, eps=eps, zero_centered=zero_centered,
        rounding=rounding, mode=mode,
    )  # fmt: skip
