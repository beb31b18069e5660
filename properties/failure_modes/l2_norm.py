"""L2 norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def eps_inside(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    return (h * torch.rsqrt(h.square().sum(-1, keepdim=True) + eps)).to(x.dtype)


def mean_instead_of_sum(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    norm = h.square().mean(-1, keepdim=True).sqrt().clamp_min(eps)
    return (h / norm).to(x.dtype)
