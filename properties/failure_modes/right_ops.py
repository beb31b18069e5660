"""The ops as right norms, and ``@layer_norm("variance")`` and its like, which plant one fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from normcheck.properties.failure_modes.steps import Frame, Norm, wide

__all__ = [
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "l2_norm",
    "layer_norm",
    "planting",
    "right_add_layer_norm",
    "right_add_rms_norm",
    "right_batch_norm",
    "right_group_norm",
    "right_instance_norm",
    "right_l2_norm",
    "right_layer_norm",
    "right_rms_norm",
    "rms_norm",
    "rows",
]

N = TypeVar("N", bound=Norm)


def planting(kind: type[N]) -> Callable[[str], Callable[[Callable[..., Any]], N]]:
    """Return a decorator that turns a replacement of one step into an op with that fault."""
    return lambda step: lambda fault: kind(step, fault)


def rows(x: Tensor, dims: int, *, centred: bool) -> Frame:
    """Return the frame of the last ``dims`` dimensions: view (rows, columns)."""
    split = x.dim() - dims
    view = (math.prod(x.shape[:split]), math.prod(x.shape[split:]))
    return Frame(view, (1,), (1, view[1]), centred=centred)


class _LayerNorm(Norm):
    def __call__(
        self,
        x: Tensor,
        normalized_shape: tuple[int, ...],
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        return self.norm(x, weight, bias, eps, rows(x, len(normalized_shape), centred=True))


class _RmsNorm(Norm):
    def __call__(
        self, x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, eps: float
    ) -> Tensor:
        return self.norm(x, weight, None, eps, rows(x, len(normalized_shape), centred=False))


class _L2Norm(Norm):
    def __call__(self, x: Tensor, eps: float) -> Tensor:
        view = (math.prod(x.shape[:-1]), x.shape[-1])
        return self.norm(x, None, None, eps, Frame(view, (1,), centred=False, summed=True))


def _join(x: Tensor, residual: Tensor) -> Tensor:
    return wide(x) + wide(residual)


def _pair(y: Tensor, total: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return y.to(x.dtype), total.to(x.dtype)


class _Added(Norm):
    """A residual addition and a norm: ``join`` adds, ``pair`` is what is returned."""

    def more_steps(self) -> dict[str, Callable[..., Any]]:
        return {"join": _join, "pair": _pair}

    def added(
        self, x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float,
        *, centred: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        total = self.steps["join"](x, residual)
        y = self.norm(total, weight, bias, eps, rows(total, 1, centred=centred))
        pair: tuple[Tensor, Tensor] = self.steps["pair"](y, total, x)
        return pair


class _AddLayerNorm(_Added):
    def __call__(
        self, x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        return self.added(x, residual, weight, bias, eps, centred=True)


class _AddRmsNorm(_Added):
    def __call__(
        self, x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        return self.added(x, residual, weight, None, eps, centred=False)


class _GroupNorm(Norm):
    def __call__(
        self, x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        each = x.shape[1] // num_groups if num_groups > 0 else 0
        if num_groups < 1 or each * num_groups != x.shape[1]:
            raise ValueError(f"num_groups is {num_groups}, but must divide {x.shape[1]} channels")
        view = (x.shape[0], num_groups, each, math.prod(x.shape[2:]))
        frame = Frame(view, (2, 3), (1, num_groups, each, 1))
        return self.norm(x, weight, bias, eps, frame)


class _InstanceNorm(Norm):
    def __call__(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        view = (x.shape[0], x.shape[1], math.prod(x.shape[2:]))
        return self.norm(x, weight, bias, eps, Frame(view, (2,), (1, x.shape[1], 1)))


def _update(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor, momentum: float,
    count: int,
) -> None:  # fmt: skip
    """Write (1 - m) old + m new into the buffers, the variance over n - 1."""
    for buffer, new in ((running_mean, mean), (running_var, variance * (count / (count - 1)))):
        buffer.copy_((1.0 - momentum) * buffer.to(new.dtype) + momentum * new.reshape(buffer.shape))


class _BatchNorm(Norm):
    """Batch norm: ``update`` writes the buffers, ``fixed`` chooses the statistics of evaluation."""

    def more_steps(self) -> dict[str, Callable[..., Any]]:
        return {"update": _update, "fixed": lambda mean, variance, x: (mean, variance)}

    def __call__(
        self, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
        weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        view = (x.shape[0], x.shape[1], math.prod(x.shape[2:]))
        frame = Frame(view, (0, 2), (1, x.shape[1], 1))
        if training and frame.count < 2:
            raise ValueError(f"one value per channel in training, got {tuple(x.shape)}")
        if running_mean is not None and running_var is not None:
            if not training:
                found = self.steps["fixed"](wide(running_mean), wide(running_var), x)
                if found is not None:
                    mean, variance = (s.reshape(frame.affine) for s in found)
                    frame = Frame(view, (0, 2), frame.affine, fixed=(mean, variance))
            elif x.numel():
                with torch.no_grad():
                    mean, variance = self.statistics(self.steps["read"](x, frame), frame)
                    self.steps["update"](
                        running_mean, running_var, mean, variance, momentum, frame.count
                    )
        elif not training:
            raise ValueError("evaluation mode needs running_mean and running_var")
        return self.norm(x, weight, bias, eps, frame)


right_layer_norm = _LayerNorm()
right_rms_norm = _RmsNorm()
right_l2_norm = _L2Norm()
right_add_layer_norm = _AddLayerNorm()
right_add_rms_norm = _AddRmsNorm()
right_group_norm = _GroupNorm()
right_instance_norm = _InstanceNorm()
right_batch_norm = _BatchNorm()
layer_norm = planting(_LayerNorm)
rms_norm = planting(_RmsNorm)
l2_norm = planting(_L2Norm)
add_layer_norm = planting(_AddLayerNorm)
add_rms_norm = planting(_AddRmsNorm)
group_norm = planting(_GroupNorm)
instance_norm = planting(_InstanceNorm)
batch_norm = planting(_BatchNorm)
