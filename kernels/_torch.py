"""Group and batch norm by torch's own operators, where Triton does not reach.

Not by torch's functions of these names: on a CPU its group norm subtracts squares of means, and its
batch norm adds one element after the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["normalised", "scaled_per_channel"]


def normalised(rows: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (rows - mean) / sqrt(var + eps), and of each row the mean and the variance of n.

    Args:
        rows: ``(rows, columns)``, in the dtype of the arithmetic.
        eps: Added to the variance.
    """
    mean = rows.mean(1, keepdim=True)
    away = rows - mean
    variance = away.square().mean(1, keepdim=True)
    return away / (variance + eps).sqrt(), mean[:, 0], variance[:, 0]


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
