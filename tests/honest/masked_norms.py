"""Honest batch norms of padded sequences: sums in float32, or in float64 for float64 inputs."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """Convert to the format in which sums are kept."""
    return x if x.dtype == torch.float64 else x.float()


@torch.no_grad()
def update(running: Tensor | None, new: Tensor, momentum: float) -> None:
    if running is not None:
        running.copy_((1.0 - momentum) * wide(running) + momentum * new)


def masked_batch_norm_selected(
    x: Tensor,
    mask: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Picks out the valid positions, as varlen code does, and leaves zeros at the others."""
    chosen = wide(x).transpose(1, 2)[mask].T  # (C, M)
    if training:
        count = chosen.shape[1]
        if count < 2:
            raise ValueError(f"mask has {count} valid positions, but training needs two")
        mean = chosen.mean(1)
        variance = (chosen - mean[:, None]).square().mean(1)
        update(running_mean, mean, momentum)
        update(running_var, variance * (count / (count - 1)), momentum)
    else:
        assert running_mean is not None, "without training the buffers are the statistics"
        assert running_var is not None, "without training the buffers are the statistics"
        mean, variance = wide(running_mean), wide(running_var)
    y = (chosen - mean[:, None]) * torch.rsqrt(variance + eps)[:, None]
    if weight is not None:
        y = y * wide(weight)[:, None]
    if bias is not None:
        y = y + wide(bias)[:, None]
    empty = torch.zeros(x.shape, dtype=x.dtype, device=x.device).transpose(1, 2)
    return empty.masked_scatter(mask[..., None], y.T.to(x.dtype)).transpose(1, 2)


def masked_batch_norm_weighted(
    x: Tensor,
    mask: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Sums weighted by the mask, one contiguous row per channel."""
    valid = mask[:, None, :]
    rows = torch.where(valid, wide(x), 0.0).transpose(0, 1).flatten(1)
    flat = mask.flatten()[None]
    if training:
        count = int(mask.sum())
        if count < 2:
            raise ValueError(f"mask has {count} valid positions, but training needs two")
        mean = rows.sum(1, keepdim=True) / count
        deviation = (rows - mean) * flat
        variance = deviation.square().sum(1, keepdim=True) / count
        update(running_mean, mean.flatten(), momentum)
        update(running_var, variance.flatten() * (count / (count - 1)), momentum)
    else:
        assert running_mean is not None, "without training the buffers are the statistics"
        assert running_var is not None, "without training the buffers are the statistics"
        variance = wide(running_var)[:, None]
        deviation = (rows - wide(running_mean)[:, None]) * flat
    y = deviation * torch.rsqrt(variance + eps)
    y = y if weight is None else y * wide(weight)[:, None]
    y = y if bias is None else y + wide(bias)[:, None]
    return y.reshape(x.shape[1], x.shape[0], x.shape[2]).transpose(0, 1).to(x.dtype)
