"""Batch norms whose running statistics, or their use, are wrong in one way each."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from normcheck.properties.failure_modes.right_ops import batch_norm, right_batch_norm
from normcheck.properties.failure_modes.steps import Pair, Step, wide


@batch_norm("update")
def count_of_channels(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # Bessel's correction subtracts the number of channels instead of one.
    corrected = variance * ((count - 1) / max(count - mean.numel(), 1))
    right(running_mean, running_var, mean, corrected, momentum, count)


@batch_norm("update")
def local_count(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # n / (n - 1) with the n of one of two ranks.
    right(running_mean, running_var, mean, variance, momentum, max(count // 2, 2))


@batch_norm("update")
def momentum_hard_coded(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    right(running_mean, running_var, mean, variance, 0.1, count)


@batch_norm("update")
def momentum_zero_is_the_default(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # `momentum or 0.1`
    right(running_mean, running_var, mean, variance, momentum or 0.1, count)


@batch_norm("update")
def momentum_of_the_variance_swapped(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    kept = running_var.clone()
    right(running_mean, running_var, mean, variance, momentum, count)
    right(running_mean.clone(), running_var.copy_(kept), mean, variance, 1.0 - momentum, count)


@batch_norm("update")
def updated_twice(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    for _ in range(2):
        right(running_mean, running_var, mean, variance, momentum, count)


@batch_norm("update")
def variance_never_updated(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    right(running_mean, running_var.clone(), mean, variance, momentum, count)


@batch_norm("update")
def update_of_half_buffers_lost(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # Half buffers are cast, the copies are updated, and the copies are dropped.
    right(running_mean.float(), running_var.float(), mean, variance, momentum, count)


@batch_norm("update")
def root_in_the_buffer(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    right(running_mean, running_var, mean, variance.sqrt(), momentum, count)


@batch_norm("update")
def mean_through_half(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # The mean goes through float16 on its way into the buffer.
    right(running_mean, running_var, mean.half().to(mean.dtype), variance, momentum, count)


def single_value_nan(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    if not training or x.numel() != x.shape[1]:
        return right_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    # One value per channel: the output is the bias, and n / (n - 1) is 1 / 0.
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_var.mul_(1.0 - momentum).add_(running_var.new_tensor(0.0) / 0.0)
            running_mean.mul_(1.0 - momentum).add_(momentum * x.reshape(-1))
    y = 0.0 * x
    return y if bias is None else y + bias.reshape(1, -1, *(1 for _ in x.shape[2:]))


_STEPS: MutableMapping[Tensor, int] = WeakTensorKeyDictionary()


@batch_norm("update")
def momentum_decays(
    right: Step, running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor,
    momentum: float, count: int,
) -> None:  # fmt: skip
    # A cumulative average where a momentum was given: right in the first step alone.
    steps = _STEPS[running_mean] = 1 + _STEPS.get(running_mean, 0)
    right(running_mean, running_var, mean, variance, momentum / steps, count)


@batch_norm("fixed")
def variance_taken_for_deviation(
    right: Pair, mean: Tensor, variance: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    return mean, variance.square()


@batch_norm("fixed")
def one_sample_in_evaluation(
    right: Pair, mean: Tensor, variance: Tensor, x: Tensor
) -> tuple[Tensor, Tensor] | None:
    # Running statistics are ignored for a batch of one.
    found: tuple[Tensor, Tensor] = right(mean, variance, x)
    return None if x.shape[0] == 1 else found


@batch_norm("fixed")
def buffers_rounded_to_x(
    right: Pair, mean: Tensor, variance: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    # float32 buffers beside half inputs lose what makes them float32.
    return right(wide(mean.to(x.dtype)), wide(variance.to(x.dtype)), x)
