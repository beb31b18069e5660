"""RMS norms whose output is wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import bits_as, in_storage_order
from normcheck.properties.failure_modes.right_ops import rms_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@rms_norm("variance")
def half_squares(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged(h.half().square().to(h.dtype), frame)


@rms_norm("variance")
def half_sum(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # The squares are divided first, but their sum still overflows where the mean exceeds 65504.
    found: Tensor = right(h, mean, frame)
    return found.half().to(h.dtype)


@rms_norm("root")
def half_variance_plus_eps(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt((variance + eps).half().to(variance.dtype))


@rms_norm("root")
def eps_outside(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return 1.0 / (variance.sqrt() + eps)


@rms_norm("call")
def eps_of_the_format(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    y: Tensor = right(x, weight, bias, torch.finfo(x.dtype).eps, frame)
    return y


@rms_norm("root")
def eps_hard_coded(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + 1e-6)


@rms_norm("call")
def prescale_without_eps(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    # Divided by the largest magnitude against overflow; eps belongs to the values before that.
    if not x.numel():
        y: Tensor = right(x, weight, bias, eps, frame)
        return y
    h = x.reshape(frame.view)
    largest = h.detach().abs().amax(-1, keepdim=True)
    scaled = h / torch.where(largest > 0, largest, 1.0)
    return right(scaled.reshape(x.shape), weight, bias, eps, frame)


@rms_norm("call")
def zero_row_divided_by_itself(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    # Divided by the largest magnitude, with eps rescaled: right, but a row of zeros is 0 / 0.
    if not x.numel():
        return right(x, weight, bias, eps, frame)
    steps = zero_row_divided_by_itself.steps
    h = steps["read"](x, frame)
    largest = h.detach().abs().amax(-1, keepdim=True)
    scaled = h / largest
    root = torch.rsqrt(averaged(scaled.square(), frame) + eps / largest.square())
    y: Tensor = steps["write"](steps["affine"](scaled * root, weight, bias, frame), x, frame)
    return y


@rms_norm("root")
def divided_by_root(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return (variance + eps).sqrt()


@rms_norm("variance")
def hard_coded_width(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged(h.square(), frame, summed=True) / 1024.0


@rms_norm("variance")
def divided_by_n_minus_one(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h, mean, frame)
    return found * (frame.count / max(frame.count - 1, 1))


@rms_norm("variance")
def centred_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return averaged((h - averaged(h, frame)).square(), frame)


@rms_norm("root")
def single_precision_root(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # For float64 too: an overload for float was taken.
    return torch.rsqrt((variance + eps).float()).to(variance.dtype)


@rms_norm("call")
def rounding_by_rows(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    # Either rounding is legitimate; one kernel for many rows and another for few is not.
    if frame.view[0] < 33 or weight is None:
        y: Tensor = right(x, weight, bias, eps, frame)
        return y
    rounded = right(x, None, None, eps, frame)
    return (rounded.reshape(frame.view) * weight.reshape(frame.affine)).reshape(x.shape)


@rms_norm("affine")
def rounded_root_behind_a_cast(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # The normalised value is rounded to bfloat16 even where the input is float32.
    found: Tensor = right(y.bfloat16().to(y.dtype), weight, bias, frame)
    return found


@rms_norm("root")
def coherent_part_per_thousand(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    root: Tensor = right(variance, eps, frame)
    return root * (1.0 + 1e-3)


@rms_norm("variance")
def reads_past_the_row(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # Lanes past the end are not masked, and see the beginning of the next row.
    found: Tensor = right(h, mean, frame)
    beyond = min(-frame.count % 32, frame.count)
    if not beyond or frame.view[0] < 2:
        return found
    after = torch.cat([h[1:, :beyond], torch.zeros_like(h[:1, :beyond])])
    return found + averaged(after.square(), frame) * (beyond / frame.count)


@rms_norm("variance")
def last_warp_of_long_rows(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # 2880 columns need 180 threads, and 180 / 32 is cut to 5 warps.
    threads = frame.count // 16
    if threads < 32:
        found: Tensor = right(h, mean, frame)
        return found
    seen = 16 * (threads - threads % 32)
    return h[:, :seen].square().sum(-1, keepdim=True) / frame.count


@rms_norm("read")
def unit_column_stride(right: Step, x: Tensor, frame: Frame) -> Tensor:
    h: Tensor = right(in_storage_order(x), frame)
    return h


@rms_norm("call")
def weight_bits_reinterpreted(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    y: Tensor = right(x, None if weight is None else bits_as(weight, x.dtype), bias, eps, frame)
    return y


@rms_norm("affine")
def offset_weight_in_bfloat16(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # For ops with 1 + weight: 1 + 15.8125 is 16.75 in bfloat16.
    factor = None if weight is None else 1.0 + weight.bfloat16()
    found: Tensor = right(y, factor, bias, frame)
    return found


@rms_norm("affine")
def offset_dropped(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # For ops with 1 + weight: the flag never reaches the kernel.
    return right(y, weight, bias, frame)


@rms_norm("affine")
def offset_in_the_output_alone(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # For ops with 1 + weight: the gradient of x is that of the raw weight.
    if weight is None:
        return right(y, weight, bias, frame)
    product = y * weight.reshape(frame.affine)
    return product + y.detach()
