"""Layer normalization over the last dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from normcheck.kernels._row_norm import row_norm

__all__ = ["layer_norm"]


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int] | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> Tensor:
    """Return (x - mean x) / sqrt(var x + eps) weight + bias, of x's dtype and contiguous.

    Sums are kept in float32, for float64 in float64.

    Args:
        x: ``(*, normalized_shape)``; any strides.
        normalized_shape: The last dimension's size if left out.
        weight: ``normalized_shape``; any floating point dtype.
        bias: Likewise.
        eps: Added to the variance.
        zero_centered: Whether the normalised x is multiplied by 1 + weight, as Gemma's is.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight, as Llama's does.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: x is not floating point.
    """
    y, _ = row_norm(
        "layer", x, weight=weight, bias=bias, normalized_shape=normalized_shape, eps=eps,
        zero_centered=zero_centered, rounding=rounding, mode=mode,
    )  # fmt: skip
    return y
