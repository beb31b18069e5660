"""Gated RMS norms that are wrong in one way each; the gate is meant to come after the norm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Weight = Tensor | None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _rms(h: Tensor, eps: float, group_size: int = 0) -> Tensor:
    size = group_size or h.shape[-1]
    groups = h.reshape(*h.shape[:-1], h.shape[-1] // size, size)
    root = torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps)
    return (groups * root).reshape(h.shape)


def _scaled(h: Tensor, weight: Weight) -> Tensor:
    return h if weight is None else h * weight


def gate_first(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    product = _wide(x) * functional.silu(_wide(z))
    return _scaled(_rms(product, eps, group_size), weight).to(x.dtype)


def sigmoid_gate(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    h = _scaled(_rms(_wide(x), eps, group_size), weight)
    return (h * torch.sigmoid(_wide(z))).to(x.dtype)


def gelu_gate(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    h = _scaled(_rms(_wide(x), eps, group_size), weight)
    return (h * functional.gelu(_wide(z))).to(x.dtype)


def groups_ignored(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    return (_scaled(_rms(_wide(x), eps), weight) * functional.silu(_wide(z))).to(x.dtype)


def weight_ignored(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    h = _rms(_wide(x), eps, group_size)
    h = h if weight is None else h + 0.0 * weight
    return (h * functional.silu(_wide(z))).to(x.dtype)


def half_gate(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    narrow = {torch.float64: torch.float32}.get(x.dtype, torch.bfloat16)
    sigma = torch.sigmoid(_wide(z)).to(narrow)
    gate = z.to(narrow) * sigma
    h = _scaled(_rms(_wide(x), eps, group_size), weight)
    return (h * gate.to(h.dtype)).to(x.dtype)


def gate_detached(x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float) -> Tensor:
    h = _scaled(_rms(_wide(x), eps, group_size), weight)
    return (h * functional.silu(_wide(z)).detach() + 0.0 * z).to(x.dtype)


class _SigmoidSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return functional.silu(z)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, ds: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors  # type: ignore[attr-defined]  # set by autograd
        return ds * torch.sigmoid(z)


def slope_of_gate_is_sigmoid(
    x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float
) -> Tensor:
    gate: Tensor = _SigmoidSlope.apply(_wide(z))  # type: ignore[no-untyped-call]
    return (_scaled(_rms(_wide(x), eps, group_size), weight) * gate).to(x.dtype)


def low_precision_statistics(
    x: Tensor, z: Tensor, weight: Weight, group_size: int, eps: float
) -> Tensor:
    narrow = {torch.float32: torch.bfloat16, torch.float64: torch.float32}.get(x.dtype, x.dtype)
    h = _rms(x.to(narrow), eps, group_size).to(_wide(x).dtype)
    return (_scaled(h, weight) * functional.silu(_wide(z))).to(x.dtype)
