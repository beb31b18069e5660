"""L2 norms of queries and keys that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _l2(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    square = h.square().sum(-1, keepdim=True)
    return (h * square.clamp_min(eps * eps).rsqrt()).to(x.dtype)


def eps_inside(q: Tensor, k: Tensor, eps: float) -> Pair:
    def one(x: Tensor) -> Tensor:
        h = _wide(x)
        return (h * torch.rsqrt(h.square().sum(-1, keepdim=True) + eps)).to(x.dtype)

    return one(q), one(k)


def scaled_by_width(q: Tensor, k: Tensor, eps: float) -> Pair:
    return _l2(q, eps) * q.shape[-1] ** -0.5, _l2(k, eps)


def floor_on_the_square(q: Tensor, k: Tensor, eps: float) -> Pair:
    def one(x: Tensor) -> Tensor:
        h = _wide(x)
        return (h * h.square().sum(-1, keepdim=True).clamp_min(eps).rsqrt()).to(x.dtype)

    return one(q), one(k)


def key_over_tokens(q: Tensor, k: Tensor, eps: float) -> Pair:
    h = _wide(k)
    square = h.square().sum(1, keepdim=True)
    return _l2(q, eps), (h * square.clamp_min(eps * eps).rsqrt()).to(k.dtype)


def no_projection_term(q: Tensor, k: Tensor, eps: float) -> Pair:
    def one(x: Tensor) -> Tensor:
        h = _wide(x)
        square = h.square().sum(-1, keepdim=True).clamp_min(eps * eps)
        return (h * square.rsqrt().detach()).to(x.dtype)

    return one(q), one(k)
