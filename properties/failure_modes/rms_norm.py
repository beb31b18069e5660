"""RMS norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

Shape = tuple[int, ...]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _root(x: Tensor, shape: Shape, eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(list(range(-len(shape), 0)), keepdim=True) + eps)


def _scaled(y: Tensor, weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (y if weight is None else y * weight).to(dtype)


def low_precision(x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    # For float64, float32 is the low precision.
    h = x.float() if x.dtype == torch.float64 else x
    h = h.bfloat16() if x.dtype == torch.float32 else h
    return _scaled(h * _root(h, normalized_shape, eps), weight, x.dtype)


def centred(x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    h = _wide(x)
    h = h - h.mean(list(range(-len(normalized_shape), 0)), keepdim=True)
    return _scaled(h * _root(h, normalized_shape, eps), weight, x.dtype)


def rounded_root(x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    h = _wide(x)
    narrow = {torch.float32: torch.bfloat16, torch.float64: torch.float32}.get(x.dtype, x.dtype)
    return _scaled(h * _root(h, normalized_shape, eps).to(narrow), weight, x.dtype)


def offset_weight(x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float) -> Tensor:
    h = _wide(x)
    factor = None if weight is None else 1.0 + _wide(weight)
    return _scaled(h * _root(h, normalized_shape, eps), factor, x.dtype)


def detached_statistics(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    return _scaled(h * _root(h, normalized_shape, eps).detach(), weight, x.dtype)
