"""Fused additions with a layer norm that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _norm(
    s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> Tensor:
    c = s - s.mean(-1, keepdim=True)
    y = c * torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(dtype)


def low_precision_sum_of_squares(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    s = x + residual
    return _norm(s, weight, bias, eps, x.dtype), s


def residual_after(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    h = x if x.dtype == torch.float64 else x.float()
    return _norm(h, weight, bias, eps, x.dtype) + residual, x + residual
