"""Instance norms that are wrong in one way each; without running statistics."""

from __future__ import annotations

import torch
from torch import Tensor


def _norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, axes: list[int], *,
    outside: bool = False,
) -> Tensor:  # fmt: skip
    h = x if x.dtype == torch.float64 else x.float()
    mean = h.mean(axes, keepdim=True)
    variance = (h - mean).square().mean(axes, keepdim=True)
    root = 1.0 / (variance.sqrt() + eps) if outside else torch.rsqrt(variance + eps)
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    y = (h - mean) * root
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)).to(x.dtype)


def over_the_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return _norm(x, weight, bias, eps, [0, *range(2, x.dim())])


def eps_outside(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return _norm(x, weight, bias, eps, list(range(2, x.dim())), outside=True)
