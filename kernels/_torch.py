"""What is left to torch's own operators where Triton does not reach."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["scaled_per_channel"]


def scaled_per_channel(
    normalised: Tensor,
    dtype: torch.dtype,
    weight: Tensor | None,
    bias: Tensor | None,
    zero_centered: bool,
    rounding: str,
) -> Tensor:
    """Return normalised times weight, plus bias, per channel, rounded to a dtype.

    Args:
        normalised: ``(samples, channels, *)``, in the dtype of the arithmetic.
        dtype: Of the result.
        weight: ``(channels,)``.
        bias: Likewise.
        zero_centered: Whether it is 1 + weight.
        rounding: ``cast_then_scale`` rounds before weight too.
    """
    shape = (1, -1, *[1] * (normalised.ndim - 2))
    y = normalised
    if rounding == "cast_then_scale":
        y = y.to(dtype).to(y.dtype)
    if weight is not None:
        y = y * (weight.to(y.dtype) + (1 if zero_centered else 0)).view(shape)
    if bias is not None:
        y = y + bias.to(y.dtype).view(shape)
    return y.to(dtype)
