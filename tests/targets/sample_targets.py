"""Honest targets, each written the way somebody writes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (y if weight is None else y * weight).to(x.dtype)


def llama_names(hidden_states: Tensor, gamma: Tensor | None, variance_epsilon: float) -> Tensor:
    return rms_norm(hidden_states, gamma, variance_epsilon)


def capitals(X: Tensor, Weight: Tensor | None, Epsilon: float) -> Tensor:
    return rms_norm(X, Weight, Epsilon)


def without_epsilon(x: Tensor, weight: Tensor | None) -> Tensor:
    return rms_norm(x, weight, 1e-5)


def defaulted(x: Tensor, weight: Tensor | None, eps: float = 1e-6, power: int = 2) -> Tensor:
    assert power == 2
    return rms_norm(x, weight, eps)


def two_names(x: Tensor, weight: Tensor, gamma: Tensor, eps: float) -> Tensor:
    return rms_norm(x, weight, eps)


def ambiguous(x: Tensor, scale: Tensor | None, gamma: Tensor | None, eps: float) -> Tensor:
    return rms_norm(x, scale, eps) if gamma is None else rms_norm(x, gamma, eps)


def with_cache(x: Tensor, weight: Tensor | None, eps: float, cache: int) -> Tensor:
    assert cache == 3
    return rms_norm(x, weight, eps)


def into(out: Tensor, x: Tensor, weight: Tensor | None, eps: float) -> None:
    out.copy_(rms_norm(x, weight, eps))


def add_in_place(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float) -> None:
    residual.add_(x)
    x.copy_(rms_norm(residual, weight, eps))


def along(x: Tensor, eps: float = 1e-12, dim: int = 1) -> Tensor:
    assert dim == -1
    return torch.nn.functional.normalize(x, dim=dim, eps=eps)


def hidden(x: Tensor, hidden_size: int, weight: Tensor | None, eps: float) -> Tensor:
    assert hidden_size == x.shape[-1]
    return rms_norm(x, weight, eps)


def anything(*args: Any, **options: float) -> Tensor:
    return rms_norm(*args)


class Namespace:
    class Inner:
        norm = staticmethod(rms_norm)


class Nested:
    ambiguous = staticmethod(ambiguous)


class OwnEpsilon(nn.Module):
    """A module whose constructor takes a size and nothing else."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.epsilon = 1e-3

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gamma, self.epsilon)


class NeedsMore(nn.Module):
    def __init__(self, dim: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps, self.heads = eps, heads

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Refuses(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        raise ValueError(f"no kernel for {dim} columns")


constant = 3.0
