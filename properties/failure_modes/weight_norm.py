"""Weight norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _norm(v: Tensor) -> Tensor:
    return v.square().sum(list(range(1, v.dim())), keepdim=True).sqrt()


def over_everything(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    return (h / h.square().sum().sqrt() * _wide(g)).to(v.dtype)


def last_dimension_only(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    return (h / h.square().sum(-1, keepdim=True).sqrt() * _wide(g)).to(v.dtype)


def eps_added(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    return (h / (_norm(h) + 1e-6) * _wide(g)).to(v.dtype)


def mean_instead_of_sum(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    root = h.square().mean(list(range(1, h.dim())), keepdim=True).sqrt()
    return (h / root * _wide(g)).to(v.dtype)


def low_precision_norm(v: Tensor, g: Tensor) -> Tensor:
    narrow = {torch.float32: torch.bfloat16, torch.float64: torch.float32}.get(v.dtype, v.dtype)
    h = _wide(v)
    return (h / _norm(h).to(narrow).to(h.dtype) * _wide(g)).to(v.dtype)


def magnitude_ignored(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    return (h / _norm(h) + 0.0 * _wide(g)).to(v.dtype)


def norm_detached(v: Tensor, g: Tensor) -> Tensor:
    h = _wide(v)
    return (h / _norm(h).detach() * _wide(g)).to(v.dtype)


class _UnnormalisedMagnitude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, v: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(v, g)
        return v / _norm(v) * g

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, dw: Tensor) -> tuple[Tensor, Tensor]:
        v, g = ctx.saved_tensors  # type: ignore[attr-defined]  # set by autograd
        over = list(range(1, v.dim()))
        norm = _norm(v)
        projected = (dw * v).sum(over, keepdim=True)
        return g / norm * (dw - v * projected / norm.square()), projected


def magnitude_gradient_unscaled(v: Tensor, g: Tensor) -> Tensor:
    y: Tensor = _UnnormalisedMagnitude.apply(_wide(v), _wide(g))  # type: ignore[no-untyped-call]
    return y.to(v.dtype)
