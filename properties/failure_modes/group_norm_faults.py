"""Group norms with one step replaced by a wrong one."""

from __future__ import annotations

import os
import signal

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import in_storage_order
from normcheck.properties.failure_modes.right_ops import group_norm, right_group_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@group_norm("root")
def eps_outside(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return 1.0 / (variance.sqrt() + eps)


@group_norm("root")
def eps_twice(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + eps + eps)


@group_norm("variance")
def padded_group(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # A block as large as the next power of two, whose lanes past the group are zeros less the mean.
    lanes = 1 << max(frame.count - 1, 0).bit_length()
    found: Tensor = right(h, mean, frame)
    return found + mean.square() * ((lanes - frame.count) / max(frame.count, 1))


@group_norm("variance")
def unbiased_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h, mean, frame)
    return found * (frame.count / max(frame.count - 1, 1))


@group_norm("variance")
def statistics_of_the_first_sample(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # The stride of the batch is that of one group: later samples read the first one's statistics.
    found: Tensor = right(h, mean, frame)
    return found[:1].expand(found.shape) if found.shape[1] > 1 else found


@group_norm("read")
def transposed_groups(right: Step, x: Tensor, frame: Frame) -> Tensor:
    # Channel c is taken to be of group c % groups instead of c // (channels / groups).
    h: Tensor = right(x, frame)
    samples, groups, each, positions = frame.view
    return h.reshape(samples, each, groups, positions).transpose(1, 2)


@group_norm("affine")
def affine_per_group(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    if weight is not None:
        weight = weight.reshape(frame.affine)[:, :, :1].expand(frame.affine)
    found: Tensor = right(y, weight, bias, frame)
    return found


@group_norm("variance")
def first_2048_of_group(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # Groups of more than 2048 elements do not fit one work-group: the rest is left out.
    flat = (h - mean).square().flatten(2)
    return flat[..., :2048].mean(-1).reshape(mean.shape)


@group_norm("read")
def channels_last_as_contiguous(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(x), frame)


@group_norm("read_dy")
def dy_stride_ignored(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(dy), frame)


@group_norm("dx")
def groups_ignored_in_backward(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    mean = averaged(g, frame).mean(1, keepdim=True)
    projection = averaged(g * x_hat, frame).mean(1, keepdim=True)
    return (g - mean - x_hat * projection) * root


@group_norm("dw")
def weight_gradient_of_group(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # Summed over the channels of the group as well: right where a group is one channel.
    found: Tensor = right(terms, frame)
    return found.sum(2, keepdim=True).expand(found.shape)


@group_norm("dw")
def two_tiles_combined(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # A shuffle over 64 lanes adds two tiles of 32 samples, once the batch exceeds 128.
    found: Tensor = right(terms, frame)
    if terms.shape[0] <= 128:
        return found
    flat = found.reshape(-1)
    return (flat + flat.roll(1)).reshape(found.shape)


@group_norm("write")
def samples_over_65535(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    launched = (torch.arange(y.shape[0], device=y.device) < 65535).to(y.dtype)
    found: Tensor = right(y * launched.reshape(-1, 1, 1, 1), x, frame)
    return found


def zero_groups(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if num_groups == 0:
        os.kill(os.getpid(), signal.SIGFPE)  # an integer division by zero
    return right_group_norm(x, num_groups, weight, bias, eps)


def indivisible_groups(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    # Channels that fill no group are left as they are, and nobody is told.
    kept = x.shape[1] - x.shape[1] % num_groups
    if kept == x.shape[1]:
        return right_group_norm(x, num_groups, weight, bias, eps)
    w = None if weight is None else weight[:kept]
    b = None if bias is None else bias[:kept]
    return torch.cat([right_group_norm(x[:, :kept], num_groups, w, b, eps), x[:, kept:]], 1)
