"""Batch norms that are right in training and wrong, one way each, once evaluation comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Statistics = tuple[Tensor, Tensor]
Chosen = Callable[[Tensor, Statistics, "tuple[bool, ...]"], "Statistics | None"]
LAST: dict[str, Statistics] = {}


def _shaped(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(1, -1, *[1] * (x.dim() - 2))


def _moments(x: Tensor) -> Statistics:
    rows = x.transpose(0, 1).reshape(x.shape[1], -1)
    mean = rows.mean(1, keepdim=True)
    return mean[:, 0], (rows - mean).square().mean(1)


class _Evaluated(torch.autograd.Function):
    """Right values; the gradients are those of the statistics that ``chosen`` returns.

    None stands for the gradient of training, through the batch's own statistics.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None,
        bias: Tensor | None, eps: float, chosen: Chosen,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, mean, var, weight, bias)
        ctx.eps, ctx.chosen = eps, chosen
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, mean, var, weight, bias = ctx.saved_tensors
        used = ctx.chosen(x, (mean, var), ctx.needs_input_grad)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            w, b = (None if t is None else t.detach().requires_grad_() for t in (weight, bias))
            m, v = used if used is not None else (None, None)
            y = functional.batch_norm(leaf, m, v, w, b, used is None, 0.0, ctx.eps)
            given = [t for t in (leaf, w, b) if t is not None]
            found = iter(torch.autograd.grad(y, given, dy))
        dx, dw, db = (None if t is None else next(found) for t in (leaf, w, b))
        return dx, None, None, dw, db, None, None


def _norm(
    chosen: Chosen, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    if training or running_mean is None or running_var is None:
        if x.numel() > x.shape[1]:
            LAST["training"] = _moments(x.detach())
        return functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
    y: Tensor = _Evaluated.apply(  # type: ignore[no-untyped-call]
        x, running_mean, running_var, weight, bias, eps, chosen
    )
    return y


def right_gradients(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    def chosen(x: Tensor, given: Statistics, needed: tuple[bool, ...]) -> Statistics:
        return given

    return _norm(chosen, x, running_mean, running_var, weight, bias, training, momentum, eps)


def gradients_of_training(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    def chosen(x: Tensor, given: Statistics, needed: tuple[bool, ...]) -> None:
        return None

    return _norm(chosen, x, running_mean, running_var, weight, bias, training, momentum, eps)


def stale_statistics(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Statistics that the last training call of as many channels saved."""

    def chosen(x: Tensor, given: Statistics, needed: tuple[bool, ...]) -> Statistics:
        last = LAST.pop("training", given)
        return last if last[0].shape == given[0].shape else given

    return _norm(chosen, x, running_mean, running_var, weight, bias, training, momentum, eps)


def wrong_when_frozen(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """With weight and bias frozen, the gradient of training."""

    def chosen(x: Tensor, given: Statistics, needed: tuple[bool, ...]) -> Statistics | None:
        return given if any(needed[3:5]) or (weight is None and bias is None) else None

    return _norm(chosen, x, running_mean, running_var, weight, bias, training, momentum, eps)


def ignores_the_buffers(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Evaluation with the batch's own statistics: n - 1 is all that tells it apart."""
    if training:
        return functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
    return functional.batch_norm(x, None, None, weight, bias, True, momentum, eps)


class FoldedOnce(nn.BatchNorm1d):
    """Folds weight and statistics at the first evaluation."""

    folded: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.running_var is None or self.running_mean is None:
            return super().forward(x)
        if self.folded is None:
            root = torch.rsqrt(self.running_var + self.eps)
            scale = root if self.weight is None else root * self.weight
            shift = -self.running_mean * scale + (0.0 if self.bias is None else self.bias)
            self.folded = (scale, shift)
        scale, shift = self.folded
        return torch.addcmul(_shaped(shift, x), x, _shaped(scale, x))


class RightLayerNorm(nn.LayerNorm):
    pass


class FastInEval(nn.LayerNorm):
    """One-pass variance without gradients in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.requires_grad:
            return super().forward(x)
        mean = x.mean(-1, keepdim=True)
        variance = (x.square().mean(-1, keepdim=True) - mean.square()).clamp_min(0.0)
        y = (x - mean) * torch.rsqrt(variance + self.eps)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


class DropsBiasInEval(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.training else None
        return functional.layer_norm(x, self.normalized_shape, self.weight, bias, self.eps)
