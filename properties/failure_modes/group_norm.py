"""Group norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _norm(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, *,
    one_pass: bool = False,
) -> Tensor:  # fmt: skip
    h = (x if x.dtype == torch.float64 else x.float()).reshape(x.shape[0], groups, -1)
    mean = h.mean(-1, keepdim=True)
    variance = (h - mean).square().mean(-1, keepdim=True)
    if one_pass:
        variance = (h.square().mean(-1, keepdim=True) - mean.square()).clamp_min(0)
    y = ((h - mean) * torch.rsqrt(variance + eps)).reshape(x.shape)
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)).to(x.dtype)


def ignores_groups(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _norm(x, 1, weight, bias, eps)


def per_channel(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _norm(x, x.shape[1], weight, bias, eps)


def one_pass_variance(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _norm(x, num_groups, weight, bias, eps, one_pass=True)
