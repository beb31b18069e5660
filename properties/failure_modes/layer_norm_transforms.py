"""Layer norms that are right to first order, and wrong under a second derivative, jvp or vmap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normcheck.properties.failure_modes.right_ops import layer_norm, right_layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step


def _centred(h: Tensor) -> Tensor:
    return h - h.mean(-1, keepdim=True)


def _normalised(h: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    c = _centred(h)
    root = torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)
    return c * root, root


def _jacobian(g: Tensor, x_hat: Tensor, root: Tensor) -> Tensor:
    """Multiply by the Jacobian of a row's normalised values, which is symmetric."""
    return (_centred(g) - x_hat * (g * x_hat).mean(-1, keepdim=True)) * root


class _Right(torch.autograd.Function):
    """Normalised rows with right rules for everything."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, eps: float) -> Tensor:
        return _normalised(h, eps)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        h, ctx.eps = inputs
        ctx.save_for_backward(h)
        ctx.save_for_forward(h)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _jacobian(g, *_normalised(ctx.saved_tensors[0], ctx.eps)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: object) -> Tensor:
        return _jacobian(tangent, *_normalised(ctx.saved_tensors[0], ctx.eps))


class _ConstantStatistics(_Right):
    """Saves values and root, and differentiates its backward as if they were given."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        _, root = _normalised(inputs[0].detach(), inputs[1])
        ctx.save_for_backward(output.detach(), root)
        ctx.save_for_forward(output.detach(), root)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _jacobian(g, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: object) -> Tensor:
        return _jacobian(tangent, *ctx.saved_tensors)


class _ConstantRoot(_Right):
    """Forward mode forgets that the root depends on the input."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: object) -> Tensor:
        return _centred(tangent) * _normalised(ctx.saved_tensors[0], ctx.eps)[1]


class _FirstOfBatch(_Right):
    """The batching rule takes the first example's root for all."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, h: Tensor, eps: float) -> tuple[Tensor, int]:
        batched = h if in_dims[0] is None else h.movedim(in_dims[0], 0)
        first = batched if in_dims[0] is None else batched[:1]
        return (_centred(batched) * _normalised(first, eps)[1]).expand(batched.shape), 0


def _through(
    function: type[_Right], x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float,
    frame: Frame,
) -> Tensor:  # fmt: skip
    right = right_layer_norm.steps
    x_hat = function.apply(right["read"](x, frame), eps)  # type: ignore[no-untyped-call]
    y: Tensor = right["write"](right["affine"](x_hat, weight, bias, frame), x, frame)
    return y


@layer_norm("call")
def constant_statistics(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    return _through(_ConstantStatistics, x, weight, bias, eps, frame)


@layer_norm("call")
def constant_root_in_forward_mode(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    return _through(_ConstantRoot, x, weight, bias, eps, frame)


@layer_norm("call")
def first_example_under_vmap(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    return _through(_FirstOfBatch, x, weight, bias, eps, frame)
