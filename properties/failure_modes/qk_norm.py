"""Norms of queries and keys that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Weight = Tensor | None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _rms(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)


def _scaled(h: Tensor, weight: Weight, dtype: torch.dtype) -> Tensor:
    return (h if weight is None else h * weight).to(dtype)


def shared_weight(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    used = None if k_weight is None or q_weight is None else q_weight + 0.0 * k_weight
    return _scaled(_rms(q, eps), used, q.dtype), _scaled(_rms(k, eps), used, k.dtype)


def key_left_alone(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    return _scaled(_rms(q, eps), q_weight, q.dtype), _scaled(_wide(k), k_weight, k.dtype)


def over_all_heads(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    def one(x: Tensor, weight: Weight) -> Tensor:
        h = _wide(x)
        root = torch.rsqrt(h.square().mean((-2, -1), keepdim=True) + eps)
        return _scaled(h * root, weight, x.dtype)

    return one(q, q_weight), one(k, k_weight)


def swapped_outputs(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    return _scaled(_rms(k, eps), k_weight, q.dtype), _scaled(_rms(q, eps), q_weight, k.dtype)


def key_eps_fixed(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    return _scaled(_rms(q, eps), q_weight, q.dtype), _scaled(_rms(k, 1e-5), k_weight, k.dtype)


def key_detached(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    h = _wide(k)
    root = torch.rsqrt(h.square().mean(-1, keepdim=True) + eps).detach()
    return _scaled(_rms(q, eps), q_weight, q.dtype), _scaled(h * root, k_weight, k.dtype)


def low_precision(q: Tensor, k: Tensor, q_weight: Weight, k_weight: Weight, eps: float) -> Pair:
    def one(x: Tensor, weight: Weight) -> Tensor:
        narrow = {torch.float32: torch.bfloat16, torch.float64: torch.float32}
        h = x.to(narrow.get(x.dtype, x.dtype))
        root = torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
        return _scaled(h * root, weight, x.dtype)

    return one(q, q_weight), one(k, k_weight)
