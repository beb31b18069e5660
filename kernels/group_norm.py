"""Group normalization: Wu, He, 2018."""

from __future__ import annotations

from torch import Tensor

from normcheck.kernels._channel_norm import channel_norm, check_channels
from normcheck.kernels._launch import accumulation, runs
from normcheck.kernels._row_norm import check_choices
from normcheck.kernels._torch import normalised, scaled_per_channel

__all__ = ["group_norm"]


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) weight + bias, mean and var of a group of channels.

    Of x's dtype, and laid out as x where its positions are evenly spaced. Sums are kept in float32,
    for float64 in float64.

    Args:
        x: ``(samples, channels, *)``; any strides.
        num_groups: Of channels, a divisor of them.
        weight: ``(channels,)``; any floating point dtype.
        bias: Likewise.
        eps: Added to the variance.
        zero_centered: Whether the normalised x is multiplied by 1 + weight.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: x is not floating point.
    """
    check_choices(rounding, mode)
    check_channels(x, weight=weight, bias=bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"num_groups is {num_groups}, but must divide {x.shape[1]} channels")
    if runs(x):
        y, _, _ = channel_norm(
            x, weight, bias, None, None, num_groups, eps, zero_centered=zero_centered,
            rounding=rounding, mode=mode,
        )  # fmt: skip
        return y
    y = x.to(accumulation(x.dtype))
    if x.numel():
        y = normalised(y.reshape(x.shape[0] * num_groups, -1), eps)[0].view(x.shape)
    return scaled_per_channel(y, x.dtype, weight, bias, zero_centered, rounding)
