"""RMS normalization over the last dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from normcheck.kernels._row_norm import row_norm

__all__ = ["rms_norm"]


def rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int] | None = None,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> Tensor:
    """Return x / sqrt(mean x^2 + eps) weight, of x's dtype and contiguous.

    Sums are kept in float32, for float64 in float64.

    Args:
        x: ``(*, normalized_shape)``; any strides.
        normalized_shape: The last dimension's size if left out.
        weight: ``normalized_shape``; any floating point dtype.
        eps: Added to the mean square.
        zero_centered: Whether the normalised x is multiplied by 1 + weight, as Gemma's is.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight, as Llama's does.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: x is not floating point.
    """
    y, _ = row_norm(
        "rms", x, weight=weight, normalized_shape=normalized_shape, eps=eps,
        zero_centered=zero_centered, rounding=rounding, mode=mode,
    )  # fmt: skip
    return y
