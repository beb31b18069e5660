"""Implementations for tests of the protocols; each is wrong in the way that its name says."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes import layer_norm

Shape = tuple[int, ...]


def layer_norm_zeros(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return torch.zeros_like(x)


def layer_norm_one_nan(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = torch.nn.functional.layer_norm(x, normalized_shape, weight, bias, eps)
    return torch.where(torch.arange(y.numel()).reshape(y.shape) == 0, torch.nan, y)


def layer_norm_one_pass(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return layer_norm.one_pass_variance(x, normalized_shape, weight, bias, eps)


def layer_norm_raises(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    raise NotImplementedError("no such kernel")


def rms_norm_zeros(x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    return torch.zeros_like(x)


def _rms_norm(x: Tensor, shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    h = x.double() if x.dtype == torch.float64 else x.float()
    dims = list(range(-len(shape), 0))
    y = h * torch.rsqrt(h.square().mean(dims, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(x.dtype)


def rms_norm_without_eps(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    return _rms_norm(x, normalized_shape, weight, 0.0)


def rms_norm_without_weight(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    return _rms_norm(x, normalized_shape, None, eps)


def rms_norm_three_percent_too_large(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    return 1.03 * _rms_norm(x, normalized_shape, weight, eps)


def rms_norm_last_is_zero(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    y = _rms_norm(x, normalized_shape, weight, eps)
    last = torch.arange(y.shape[-1]) == y.shape[-1] - 1
    return torch.where(last, torch.zeros_like(y), y)


def rms_norm_one_nan(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    y = _rms_norm(x, normalized_shape, weight, eps)
    return torch.where(torch.arange(y.numel()).reshape(y.shape) == 0, torch.nan, y)


def rms_norm_clipped(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    return _rms_norm(x.clamp(-6, 6), normalized_shape, weight, eps)


def rms_norm_writes_input(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    y = _rms_norm(x, normalized_shape, weight, eps)
    if not x.requires_grad:
        x.mul_(0.5)
    return y
