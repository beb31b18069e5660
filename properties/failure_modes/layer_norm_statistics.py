"""Layer norms whose mean, variance, reciprocal root or values are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.right_ops import layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@layer_norm("variance")
def one_pass_unclamped(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged(h.square(), frame) - mean.square()


@layer_norm("variance")
def fused_one_pass(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # One fused multiply-add: even a single element then has a variance that is not zero.
    squares = averaged(h.square(), frame)
    return torch.addcmul(squares.double(), mean.double(), mean.double(), value=-1.0).to(h.dtype)


@layer_norm("variance")
def one_pass_from_first_element(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # Shifting by one element helps, except where that element is the outlier.
    shifted = h - h[..., :1] if frame.count else h
    return (averaged(shifted.square(), frame) - averaged(shifted, frame).square()).clamp_min(0)


@layer_norm("variance")
def tiny_variance_is_zero(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    variance: Tensor = right(h, mean, frame)
    return torch.where(variance < 1e-6, 0.0 * variance, variance)


@layer_norm("root")
def fourth_power(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # The fourth power of a value overflows float32 from 4e9 on, its square only from 2e19 on.
    return (variance + eps).square().rsqrt().sqrt()


@layer_norm("root")
def half_eps(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + torch.tensor(eps).half().to(variance.dtype))


@layer_norm("root")
def eps_minimum(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + max(eps, 1.001e-5))


@layer_norm("root")
def eps_default(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + 1e-5)


@layer_norm("root")
def eps_integer(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + int(eps))


@layer_norm("root")
def eps_in_the_sum(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + eps / max(frame.count, 1))


@layer_norm("variance")
def uncentred_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged(h.square(), frame)


@layer_norm("read")
def clipped_input(right: Step, x: Tensor, frame: Frame) -> Tensor:
    h: Tensor = right(x, frame)
    return h.clamp(-6.0, 6.0)


@layer_norm("affine")
def clipped_output(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y.clamp(-5.0, 5.0), weight, bias, frame)


@layer_norm("affine")
def weight_magnitude(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, None if weight is None else weight.abs(), bias, frame)


@layer_norm("affine")
def bias_before_weight(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    shifted = y if bias is None else y + bias.reshape(frame.affine)
    return right(shifted, weight, None, frame)


@layer_norm("variance")
def bfloat16_squares(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged((h - mean).square().bfloat16().to(h.dtype), frame)


@layer_norm("variance")
def bfloat16_running_sum(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    if not frame.count:
        return right(h, mean, frame)
    return (h - mean).square().bfloat16().cumsum(-1)[..., -1:].to(h.dtype) / frame.count


@layer_norm("variance")
def count_in_half(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # float16 has no 2049, and nothing above 65504.
    count = torch.tensor(float(max(frame.count, 1)))
    variance: Tensor = right(h, mean, frame)
    return variance * (count / count.half().float()).to(h.dtype)


@layer_norm("read")
def float32_for_float64(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return x.float().reshape(frame.view)


@layer_norm("write")
def truncated_rounding(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    if x.dtype != torch.bfloat16:
        return right(y, x, frame)
    # The upper 16 bits: rounding towards zero.
    cut = (y.detach().view(torch.int32) & -65536).view(torch.float32)
    return (y + (cut - y).detach()).reshape(x.shape).bfloat16()


@layer_norm("mean")
def noisy_mean(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # A mean that is off by 2e-6 of itself is multiplied by 1 / sqrt(eps) in a constant row.
    mean: Tensor = right(h, frame)
    return mean * (1.0 + 2e-6)


@layer_norm("root")
def root_of_zero(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # The value is right; the derivative of the first square root is infinite at zero.
    return torch.rsqrt(variance.sqrt().square() + eps)


@layer_norm("variance")
def single_column_nan(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    total = averaged((h - mean).square(), frame, summed=True)
    freedom = h.new_tensor(float(frame.count - 1))
    return total / freedom * freedom / max(frame.count, 1)


@layer_norm("call")
def single_column_as_it_is(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    if frame.count != 1:
        return right(x, weight, bias, eps, frame)
    y = x if weight is None else x * weight
    return y if bias is None else y + bias


@layer_norm("variance")
def divided_by_lanes(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    variance: Tensor = right(h, mean, frame)
    return variance * (frame.count / (1 << max(frame.count - 1, 0).bit_length()))


@layer_norm("mean")
def mean_over_lanes(right: Step, h: Tensor, frame: Frame) -> Tensor:
    mean: Tensor = right(h, frame)
    return mean * (frame.count / (1 << max(frame.count - 1, 0).bit_length()))


@layer_norm("root")
def coherent_scale(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    root: Tensor = right(variance, eps, frame)
    return root * (1.0 + 2e-6)


@layer_norm("root")
def coherent_scale_of_long_rows(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # Within the budget of each element, and the same for all of a row: a long sum that leaked.
    root: Tensor = right(variance, eps, frame)
    return root * (1.0 + 1e-6) if frame.count >= 1000 else root


@layer_norm("root")
def three_percent(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    root: Tensor = right(variance, eps, frame)
    return root * 1.03
