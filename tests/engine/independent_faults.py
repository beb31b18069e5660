"""Wrong norms that the catalogue of failure modes knows nothing of: other numbers, other code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.engine.independent_rows import LAYER_FAULTS, Fault

__all__ = ["FAULTS", "Fault"]

FAULTS: list[Fault] = [*LAYER_FAULTS]


def _fault(name: str, op: str, kind: str, **more: Any) -> Callable[[Any], Any]:
    def planted(target: Any) -> Any:
        FAULTS.append(Fault(name, op, kind, target, **more))
        return target

    return planted


@_fault("rms_of_unit_offset", "rms_norm", "K10")
def _unit_offset(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    h = x.float()
    y = h / (h.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return (y if weight is None else y * (weight.float() + 1)).to(x.dtype)


@_fault("rms_clipped_at_20", "rms_norm", "K07")
def _clipped(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    h = x.double().clamp(-20, 20)
    y = h / (h.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return (y if weight is None else y * weight.double()).to(x.dtype)


@_fault("rms_last_column_empty", "rms_norm", "K14")
def _last_column(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    h = x.double()
    y = h / (h.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    y = y if weight is None else y * weight.double()
    odd = x.shape[-1] - x.shape[-1] % 2
    keep = (torch.arange(x.shape[-1]) < odd) | (x.shape[-1] < 2)
    return (y * keep).to(x.dtype)


@_fault("groups_over_the_batch", "group_norm", "K20")
def _over_the_batch(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = x.double().reshape(x.shape[0], num_groups, -1)
    v, mean = torch.var_mean(h, (0, 2), correction=0, keepdim=True)
    y = ((h - mean) / (v + eps).sqrt()).reshape(x.shape)
    shape = (1, -1, *[1] * (x.dim() - 2))
    y = y if weight is None else y * weight.double().reshape(shape)
    return (y if bias is None else y + bias.double().reshape(shape)).to(x.dtype)


@_fault("instances_without_weight", "instance_norm", "K36")
def _without_weight(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    h = x.double().flatten(2)
    v, mean = torch.var_mean(h, 2, correction=0, keepdim=True)
    y = (h - mean) / (v + eps).sqrt()
    return (y if bias is None else y + bias.double().reshape(1, -1, 1)).reshape(x.shape).to(x.dtype)


def _batch(momentum_of: Callable[[float], float], correction: int) -> Callable[..., Tensor]:
    def target(
        x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
        bias: Tensor | None, training: bool, momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        y = functional.batch_norm(
            x, None if training else running_mean, None if training else running_var, weight, bias,
            training, 0.0, eps,
        )  # fmt: skip
        if training and running_mean is not None and running_var is not None:
            m = momentum_of(momentum)
            axes = [0, *range(2, x.dim())]
            v, mean = torch.var_mean(x.detach().double(), axes, correction=correction)
            running_mean.copy_((1 - m) * running_mean.double() + m * mean)
            running_var.copy_((1 - m) * running_var.double() + m * v)
        return y

    return target


FAULTS += [
    Fault("momentum_of_0_03", "batch_norm", "K33", _batch(lambda m: 0.03, 1), "running_statistics"),
    Fault("momentum_halved", "batch_norm", "K33", _batch(lambda m: m / 2, 1), "running_statistics"),
    Fault("population_variance", "batch_norm", "K32", _batch(lambda m: m, 0), "running_statistics"),
]


class _Backward(torch.autograd.Function):
    """A right RMS norm whose gradients are changed by a function on the way out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float, change: Any) -> Tensor:
        h = x.double()
        root = (h.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(h, root, weight)
        ctx.change, ctx.dtype = change, x.dtype
        y = h * root
        return (y if weight is None else y * weight.double()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        h, root, weight = ctx.saved_tensors
        dx, dw = ctx.change(dy.double(), h, root, weight)
        return dx.to(ctx.dtype), None if weight is None else dw.to(weight.dtype), None, None


def _right(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    g = d if weight is None else d * weight.double()
    dx = root * (g - h * root * (g * h * root).mean(-1, keepdim=True))
    return dx, (d * h * root).reshape(-1, h.shape[-1])


def _rms(name: str, kind: str) -> Callable[[Any], Any]:
    def planted(change: Any) -> Any:
        def target(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
            y: Tensor = _Backward.apply(x, weight, eps, change)  # type: ignore[no-untyped-call]
            return y

        FAULTS.append(Fault(name, "rms_norm", kind, target, "gradients"))
        return change

    return planted


@_rms("gradient_without_projection", "K24")
def _without_projection(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> Any:
    g = d if weight is None else d * weight.double()
    return g * root, _right(d, h, root, weight)[1].sum(0)


@_rms("gradient_without_first_weight", "K24")
def _weightless(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> Any:
    return _right(d, h, root, None)[0], _right(d, h, root, weight)[1].sum(0)


@_rms("weight_gradient_of_whole_blocks_of_8", "K15")
def _blocks_of_8(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> Any:
    dx, terms = _right(d, h, root, weight)
    rows = terms.shape[0]
    return dx, terms[: rows - rows % 8 if rows >= 8 else rows].sum(0)


@_rms("weight_gradient_in_bfloat16", "K26")
def _in_bfloat16(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> Any:
    dx, terms = _right(d, h, root, weight)
    return dx, terms.bfloat16().double().sum(0)


@_rms("clipped_at_a_quarter", "K24")
def _quarter(d: Tensor, h: Tensor, root: Tensor, weight: Tensor | None) -> Any:
    return _right(d.clamp(-0.25, 0.25), h, root, weight)[0], _right(d, h, root, weight)[1].sum(0)
