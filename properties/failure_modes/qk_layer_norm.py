"""Layer norms of queries and keys that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Optional = Tensor | None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _layer(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    c = h - h.mean(-1, keepdim=True)
    return c * torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)


def _affine(h: Tensor, weight: Optional, bias: Optional, dtype: torch.dtype) -> Tensor:
    h = h if weight is None else h * weight
    return (h if bias is None else h + bias).to(dtype)


def key_uncentred(
    q: Tensor,
    k: Tensor,
    q_weight: Optional,
    k_weight: Optional,
    q_bias: Optional,
    k_bias: Optional,
    eps: float,
) -> Pair:
    h = _wide(k)
    rms = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    return (
        _affine(_layer(q, eps), q_weight, q_bias, q.dtype),
        _affine(rms, k_weight, k_bias, k.dtype),
    )


def biases_swapped(
    q: Tensor,
    k: Tensor,
    q_weight: Optional,
    k_weight: Optional,
    q_bias: Optional,
    k_bias: Optional,
    eps: float,
) -> Pair:
    return (
        _affine(_layer(q, eps), q_weight, k_bias, q.dtype),
        _affine(_layer(k, eps), k_weight, q_bias, k.dtype),
    )


def one_pass_variance(
    q: Tensor,
    k: Tensor,
    q_weight: Optional,
    k_weight: Optional,
    q_bias: Optional,
    k_bias: Optional,
    eps: float,
) -> Pair:
    def one(x: Tensor) -> Tensor:
        h = _wide(x)
        mean = h.mean(-1, keepdim=True)
        variance = (h.square().mean(-1, keepdim=True) - mean.square()).clamp_min(0.0)
        return (h - mean) * torch.rsqrt(variance + eps)

    return (
        _affine(one(q), q_weight, q_bias, q.dtype),
        _affine(one(k), k_weight, k_bias, k.dtype),
    )


def no_mean_term(
    q: Tensor,
    k: Tensor,
    q_weight: Optional,
    k_weight: Optional,
    q_bias: Optional,
    k_bias: Optional,
    eps: float,
) -> Pair:
    def one(x: Tensor) -> Tensor:
        h = _wide(x)
        c = h - h.mean(-1, keepdim=True).detach()
        return c * torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)

    return (
        _affine(one(q), q_weight, q_bias, q.dtype),
        _affine(one(k), k_weight, k_bias, k.dtype),
    )
