"""Honest normalizations of (N, C, *): two passes, sums in float32, or in float64 for float64."""

import math

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """Convert to the format in which sums are kept."""
    return x if x.dtype == torch.float64 else x.float()


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """Shape a parameter so that it varies along the channels of x."""
    return wide(parameter).reshape(1, -1, *[1] * (x.dim() - 2))


def affine(value: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        value = value * per_channel(weight, value)
    return value if bias is None else value + per_channel(bias, value)


def moments(x: Tensor, over: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and the mean square of the deviations."""
    mean = x.mean(over, keepdim=True)
    return mean, (x - mean).square().mean(over, keepdim=True)


@torch.no_grad()
def update(running: Tensor, new: Tensor, momentum: float) -> None:
    running.copy_((1.0 - momentum) * wide(running) + momentum * new)


def group_norm_two_pass(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    size = math.prod(x.shape[1:]) // num_groups
    values = wide(x).reshape(x.shape[0], num_groups, size)
    mean, variance = moments(values, [2])
    normalised = ((values - mean) * torch.rsqrt(variance + eps)).reshape(x.shape)
    return affine(normalised, weight, bias).to(x.dtype)


def batch_norm_two_pass(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    # One contiguous row per channel: torch adds serially over two dimensions at once.
    values = wide(x).transpose(0, 1)
    swapped, count = values.shape, x.numel() // max(x.shape[1], 1)
    values = values.reshape(x.shape[1], count)
    if training:
        if count == 1:
            raise ValueError(f"x has shape {tuple(x.shape)}, but training needs two values")
        mean, variance = moments(values, [1])
        if running_mean is not None and running_var is not None and count:
            update(running_mean, mean.flatten(), momentum)
            update(running_var, variance.flatten() * (count / (count - 1)), momentum)
    else:
        assert running_mean is not None, "without training the buffers are the statistics"
        assert running_var is not None, "without training the buffers are the statistics"
        mean, variance = wide(running_mean)[:, None], wide(running_var)[:, None]
    y = (values - mean) * torch.rsqrt(variance + eps)
    if weight is not None:
        y = y * wide(weight)[:, None]
    if bias is not None:
        y = y + wide(bias)[:, None]
    return y.reshape(swapped).transpose(0, 1).to(x.dtype)


def instance_norm_two_pass(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    values, over = wide(x), list(range(2, x.dim()))
    if use_input_stats:
        count = math.prod(x.shape[2:])
        if count < 2:
            raise ValueError(f"x has shape {tuple(x.shape)}, but training needs two values")
        mean, variance = moments(values, over)
        if running_mean is not None and running_var is not None and len(x):
            update(running_mean, mean.mean(0).flatten(), momentum)
            update(running_var, variance.mean(0).flatten() * (count / (count - 1)), momentum)
    else:
        assert running_mean is not None, "without training the buffers are the statistics"
        assert running_var is not None, "without training the buffers are the statistics"
        mean, variance = per_channel(running_mean, x), per_channel(running_var, x)
    normalised = (values - mean) * torch.rsqrt(variance + eps)
    return affine(normalised, weight, bias).to(x.dtype)
