"""Batch normalization: Ioffe, Szegedy, 2015."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.kernels._channel_norm import channel_norm, check_channels
from normcheck.kernels._launch import accumulation, runs
from normcheck.kernels._row_norm import check_choices
from normcheck.kernels._torch import normalised, scaled_per_channel

__all__ = ["batch_norm"]


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> Tensor:
    """Return (x - mean) / sqrt(var + eps) weight + bias per channel.

    Of x's dtype, and laid out as x where its positions are evenly spaced. Mean and variance are the
    batch's where it is training, and then move the running ones; else the running ones.

    Args:
        x: ``(samples, channels, *)``; any strides.
        running_mean: ``(channels,)``; changed in training.
        running_var: Likewise; of n - 1 degrees of freedom.
        weight: ``(channels,)``; any floating point dtype.
        bias: Likewise.
        training: Whether mean and variance are the batch's.
        momentum: What weight a batch has in the running statistics.
        eps: Added to the variance.
        zero_centered: Whether the normalised x is multiplied by 1 + weight.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit, a channel of a batch has one value, or none
            of the running statistics are there where they are needed; the message says which.
        TypeError: x is not floating point.
    """
    check_choices(rounding, mode)
    check_channels(x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    if training and x.numel() == x.shape[1]:
        raise ValueError(f"x is {tuple(x.shape)}, but training takes more than 1 value per channel")
    if not training and (running_mean is None or running_var is None):
        raise ValueError("running_mean and running_var are needed where training is False")
    given = (None, None) if training else (running_mean, running_var)
    if runs(x):
        y, means, variances = channel_norm(
            x, weight, bias, *given, 0, eps, zero_centered=zero_centered, rounding=rounding,
            mode=mode,
        )  # fmt: skip
    else:
        y, means, variances = _on_torch(x, *given, eps)
        y = scaled_per_channel(y, x.dtype, weight, bias, zero_centered, rounding)
    if training and x.numel():
        _move(running_mean, means, momentum)
        _move(running_var, variances, momentum)
    return y


def _on_torch(
    x: Tensor, mean: Tensor | None, variance: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x normalised, and the batch's means and variances of n - 1."""
    values = x.to(accumulation(x.dtype))
    if mean is not None and variance is not None:
        shape = (1, -1, *[1] * (x.ndim - 2))
        root = (variance.to(values.dtype) + eps).sqrt().view(shape)
        return (values - mean.to(values.dtype).view(shape)) / root, mean, variance
    if x.numel() == 0:
        return values, values, values
    channels = values.transpose(0, 1)
    y, means, variances = normalised(channels.reshape(x.shape[1], -1), eps)
    count = x.numel() // x.shape[1]
    unbiased = variances.detach() * (count / (count - 1))
    return y.view(channels.shape).transpose(0, 1), means.detach(), unbiased


@torch.no_grad()
def _move(running: Tensor | None, found: Tensor, momentum: float) -> None:
    """Move a running statistic, rounded once to its own dtype."""
    if running is not None:
        running.copy_(running.to(found.dtype) * (1 - momentum) + found * momentum)
