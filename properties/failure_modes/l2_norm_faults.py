"""L2 norms with one step replaced by a wrong one."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import in_storage_order
from normcheck.properties.failure_modes.right_ops import l2_norm
from normcheck.properties.failure_modes.steps import Frame, Step


@l2_norm("variance")
def half_squares(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return right(h.half().square().to(h.dtype).sqrt(), mean, frame)


@l2_norm("root")
def half_floor(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # 1e-12 is zero in float16, and a row of zeros becomes 0 / 0.
    return right(variance, float(torch.tensor(eps).half()), frame)


@l2_norm("root")
def floor_ignored(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, 1e-12, frame)


@l2_norm("root")
def root_of_zero(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # The value is right; for a row of zeros the gradient is 0 times infinity.
    return 1.0 / variance.sqrt().clamp_min(eps)


@l2_norm("root")
def detached_norm(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance.detach(), eps, frame)


@l2_norm("variance")
def bfloat16_sum(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h, mean, frame)
    return found.bfloat16().to(h.dtype)


@l2_norm("variance")
def first_128_columns(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h[:, :128], mean, frame)
    return found


@l2_norm("read")
def unit_column_stride(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(x), frame)
