"""Instance norms with one step replaced by a wrong one; without running statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import in_storage_order
from normcheck.properties.failure_modes.right_ops import instance_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@instance_norm("variance")
def one_pass_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return (averaged(h.square(), frame) - mean.square()).clamp_min(0)


@instance_norm("variance")
def unbiased_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h, mean, frame)
    return found * (frame.count / max(frame.count - 1, 1))


@instance_norm("call")
def one_position_as_it_is(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    if frame.count == 1:
        return x
    y: Tensor = right(x, weight, bias, eps, frame)
    return y


@instance_norm("read")
def channels_last_as_contiguous(right: Step, x: Tensor, frame: Frame) -> Tensor:
    h: Tensor = right(in_storage_order(x), frame)
    return h


@instance_norm("affine")
def weight_of_the_sample(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # The index into the weight runs on by one channel from each sample to the next.
    if weight is not None:
        index = torch.arange(y.shape[0] * y.shape[1], device=y.device)
        rolled = weight[(index + index // y.shape[1]) % y.shape[1]]
        y, weight = y * rolled.reshape(*y.shape[:2], 1), None
    found: Tensor = right(y, weight, bias, frame)
    return found


@instance_norm("dx")
def gradient_over_the_batch(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    mean = averaged(g, frame).mean(0, keepdim=True)
    projection = averaged(g * x_hat, frame).mean(0, keepdim=True)
    return (g - mean - x_hat * projection) * root


@instance_norm("saved")
def variance_saved_for_root(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, variance


@instance_norm("dw")
def weight_gradient_of_one_sample(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # Written by every sample and added up by none: the last one is left.
    return right(terms[-1:], frame)
