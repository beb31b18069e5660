"""Fused residual additions with one step replaced by a wrong one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import in_storage_order
from normcheck.properties.failure_modes.right_ops import add_layer_norm, add_rms_norm
from normcheck.properties.failure_modes.steps import Frame, Pair, Step, averaged, wide


@add_layer_norm("variance")
def one_pass_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return (averaged(h.square(), frame) - mean.square()).clamp_min(0)


@add_layer_norm("pair")
def sum_gradient_dropped(right: Pair, y: Tensor, total: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = right(y, total, x)
    return first, second.detach()


@add_layer_norm("join")
def residual_stride_of_x(right: Step, x: Tensor, residual: Tensor) -> Tensor:
    # One row stride for both: a residual with strides of its own is read in storage order.
    return right(x, in_storage_order(residual))


@add_layer_norm("join")
def residual_rounded_to_x(right: Step, x: Tensor, residual: Tensor) -> Tensor:
    # A float32 stream of residuals beside narrower activations is cut to the activations' format.
    return right(x, residual.to(x.dtype))


class _Doubled(torch.autograd.Function):
    """A sum whose second summand receives its gradient twice."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return first + second

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return d, 2.0 * d


@add_layer_norm("join")
def residual_gradient_twice(right: Step, x: Tensor, residual: Tensor) -> Tensor:
    total: Tensor = _Doubled.apply(wide(x), wide(residual))  # type: ignore[no-untyped-call]
    return total


class _AddedBefore(torch.autograd.Function):
    """Normalised values and sum; the sum's gradient goes through the Jacobian of the norm."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        root = torch.rsqrt(total.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(total * root, root)
        return total * root, total.clone()

    @staticmethod
    def backward(ctx: Any, dy: Tensor, ds: Tensor) -> Any:
        x_hat, root = ctx.saved_tensors
        g = dy + ds
        return (g - x_hat * (g * x_hat).mean(-1, keepdim=True)) * root, None


def residual_gradient_before_jacobian(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    x_hat, total = _AddedBefore.apply(wide(x) + wide(residual), eps)  # type: ignore[no-untyped-call]
    y = x_hat if weight is None else x_hat * weight
    return y.to(x.dtype), total.to(x.dtype)


@add_rms_norm("root")
def eps_outside(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return 1.0 / (variance.sqrt() + eps)


@add_rms_norm("join")
def rounding_by_width(right: Step, x: Tensor, residual: Tensor) -> Tensor:
    # The sum is rounded before it is normalised in long rows, and not in short ones.
    total: Tensor = right(x, residual)
    return total.to(x.dtype).to(total.dtype) if x.shape[-1] > 256 else total


@add_rms_norm("pair")
def normalised_returned_twice(
    right: Pair, y: Tensor, total: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    return right(y, y, x)


@add_rms_norm("join")
def writes_through_residual(right: Step, x: Tensor, residual: Tensor) -> Tensor:
    total: Tensor = right(x, residual)
    if not residual.requires_grad:
        residual.copy_(total.to(residual.dtype))
    return total


_SUMS: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


@add_rms_norm("pair")
def sum_buffer_reused(right: Pair, y: Tensor, total: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = right(y, total, x)
    if second.requires_grad:
        return first, second
    buffer = _SUMS.setdefault((second.shape, second.dtype), torch.empty_like(second))
    return first, buffer.copy_(second)
