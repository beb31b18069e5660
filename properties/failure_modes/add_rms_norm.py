"""Fused additions with an RMS norm that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _norm(s: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
    y = s * torch.rsqrt(s.square().mean(-1, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(dtype)


def _sum(x: Tensor, residual: Tensor) -> Tensor:
    return x + residual if x.dtype == torch.float64 else x.float() + residual.float()


def residual_not_returned(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    return _norm(_sum(x, residual), weight, eps, x.dtype), x * 1.0


def no_residual_gradient(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    s = _sum(x, residual.detach())
    return _norm(s, weight, eps, x.dtype), s.to(x.dtype)
