"""Batch norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _update(buffer: Tensor | None, value: Tensor, momentum: float) -> None:
    if buffer is not None:
        with torch.no_grad():
            wide = buffer.to(value.dtype)
            buffer.copy_((1.0 - momentum) * wide + momentum * value)


def _norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float, fault: str,
) -> Tensor:  # fmt: skip
    h = x if x.dtype == torch.float64 else x.float()
    axes = [0, *range(2, x.dim())]
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    count = x.numel() // max(x.shape[1], 1)
    if training and count < 2:
        raise ValueError(f"one value per channel in training, got {tuple(x.shape)}")
    mean, variance = h.mean(axes), h.var(axes, correction=0)
    own = training or running_mean is None or running_var is None
    if (training and fault != "lost") or fault == "eval update":
        old = 1.0 - momentum if fault == "momentum" else momentum
        unbiased = variance if fault == "biased" else variance * count / (count - 1)
        _update(running_mean, mean.detach(), old)
        _update(running_var, unbiased.detach(), old)
    if not own and fault != "batch" and running_mean is not None and running_var is not None:
        mean, variance = running_mean.to(h.dtype), running_var.to(h.dtype)
    y = (h - mean.reshape(shape)) * torch.rsqrt(variance + eps).reshape(shape)
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)).to(x.dtype)


def biased_running_variance(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "biased")


def swapped_momentum(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "momentum")


def lost_update(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "lost")


def eval_uses_batch(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "batch")


def updates_in_eval(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "eval update")
