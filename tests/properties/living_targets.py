"""Batch norms with a life of their own: right at the first call, wrong later, one way each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def _shaped(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(1, -1, *[1] * (x.dim() - 2))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    rows = x.transpose(0, 1).reshape(x.shape[1], -1)
    mean = rows.mean(1, keepdim=True)
    return mean[:, 0], (rows - mean).square().mean(1)


class RightBatchNorm(nn.Module):
    """A batch norm in the format of its input, with every step in a method of its own."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def factor(self) -> float:
        return 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum

    def count(self) -> None:
        if self.training:
            self.num_batches_tracked += 1

    def updates(self, x: Tensor) -> bool:
        return self.training

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor, values: int) -> None:
        m = self.factor()
        for buffer, new in (
            (self.running_mean, mean),
            (self.running_var, variance * (values / (values - 1))),
        ):
            buffer.copy_((1.0 - m) * buffer + m * new)

    def fixed(self) -> tuple[Tensor, Tensor]:
        return self.running_mean, self.running_var

    def forward(self, x: Tensor) -> Tensor:
        values = x.numel() // max(x.shape[1], 1)
        if self.training and values < 2:
            raise ValueError(f"x has shape {tuple(x.shape)}, but training needs two values")
        self.count()
        mean, variance = _moments(x) if self.training or self.updates(x) else self.fixed()
        if self.updates(x) and values > 1:
            self.update(mean.detach(), variance.detach(), values)
        if not self.training:
            mean, variance = self.fixed()
        y = (x - _shaped(mean, x)) * _shaped(torch.rsqrt(variance + self.eps), x)
        if self.weight is not None and self.bias is not None:
            y = y * _shaped(self.weight, x) + _shaped(self.bias, x)
        return y


class UpdatesInEvalWithGradients(RightBatchNorm):
    """Takes 'a gradient is needed' for 'in training'."""

    def updates(self, x: Tensor) -> bool:
        return self.training or x.requires_grad


class UpdatesWhenFrozen(RightBatchNorm):
    """Frozen parameters make it update in evaluation mode."""

    def updates(self, x: Tensor) -> bool:
        frozen = self.weight is not None and not self.weight.requires_grad
        return self.training or (x.requires_grad and frozen)


class NeverCumulative(RightBatchNorm):
    """Takes momentum None for its default."""

    def factor(self) -> float:
        return 0.1 if self.momentum is None else self.momentum


class CountsAnyCall(RightBatchNorm):
    """Counts calls in evaluation mode too."""

    def count(self) -> None:
        self.num_batches_tracked += 1


class UpdatesOldBuffers(RightBatchNorm):
    """Remembers the memory of its buffers, which converting the module replaces."""

    kept: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor, values: int) -> None:
        self.kept = self.kept or (self.running_mean, self.running_var)
        m = self.factor()
        for buffer, new in zip(self.kept, (mean, variance * (values / (values - 1))), strict=True):
            buffer.copy_((1.0 - m) * buffer + m * new)


class KeepsFoldedStatistics(RightBatchNorm):
    """Folds the statistics at the first evaluation, and keeps them through later training."""

    folded: tuple[Tensor, Tensor] | None = None

    def fixed(self) -> tuple[Tensor, Tensor]:
        if self.folded is None:
            self.folded = (self.running_mean.clone(), self.running_var.clone())
        return self.folded


class UpdatesOnce(RightBatchNorm):
    """Updates its buffers at the first training call only."""

    done = False

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor, values: int) -> None:
        if not self.done:
            super().update(mean, variance, values)
        self.done = True


class LoadsMeanOnly(RightBatchNorm):
    """Loading a state dict leaves the running variance as it is."""

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        kept = {**state_dict, "running_var": self.running_var.clone()}
        return super().load_state_dict(kept, *args, **kwargs)


def updates_each_buffer_once(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Leaves buffers alone that it has updated before."""
    first = not hasattr(running_mean, "was_updated")
    mean, var = (running_mean, running_var) if first or not training else (None, None)
    y = nn.functional.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    if training and running_mean is not None:
        running_mean.was_updated = True  # type: ignore[attr-defined]  # a mark
    return y


def hangs_at_the_third_call(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Never returns when the same buffers come a third time."""
    if running_mean is not None:
        running_mean.calls = getattr(running_mean, "calls", 0) + 1  # type: ignore[attr-defined]
        while running_mean.calls > 2:  # type: ignore[attr-defined]
            pass
    return nn.functional.batch_norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps
    )
