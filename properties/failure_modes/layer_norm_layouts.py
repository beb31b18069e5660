"""Layer norms that are wrong for some memory layouts, mixed dtypes or owners of memory."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import bits_as, in_storage_order, without_offset
from normcheck.properties.failure_modes.right_ops import layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step, wide


@layer_norm("read")
def unit_column_stride(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(x), frame)


@layer_norm("read")
def storage_offset_ignored(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return right(without_offset(x), frame)


@layer_norm("read")
def misaligned_pointer(right: Step, x: Tensor, frame: Frame) -> Tensor:
    # 16-byte loads: the address is rounded down, and everything is read a few elements early.
    early = x.data_ptr() % 16 // x.element_size() if x.numel() else 0
    h: Tensor = right(x, frame)
    return h.reshape(-1).roll(early).reshape(h.shape) if early else h


@layer_norm("read")
def leading_dimensions_merged(right: Step, x: Tensor, frame: Frame) -> Tensor:
    # Rows are taken to follow each other at one pitch: the stride of the last dimension but one.
    if x.dim() < 3 or not x.numel():
        h: Tensor = right(x, frame)
        return h
    rows, columns = frame.view
    pitch = x.stride(-2)
    fits = x.shape[-1] == columns and (rows - 1) * pitch + columns <= x.untyped_storage().nbytes()
    fits = fits and x.stride(-1) == 1 and x.stride(-3) != x.shape[-2] * pitch
    extent = x.storage_offset() + (rows - 1) * pitch + columns
    if not fits or extent * x.element_size() > x.untyped_storage().nbytes():
        return right(x, frame)
    return right(x.as_strided((rows, columns), (pitch, 1)), frame)


@layer_norm("affine")
def weight_stride_ignored(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, None if weight is None else in_storage_order(weight), bias, frame)


@layer_norm("affine")
def bias_stride_ignored(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, weight, None if bias is None else in_storage_order(bias), frame)


@layer_norm("affine")
def weight_offset_ignored(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, None if weight is None else without_offset(weight), bias, frame)


@layer_norm("read_dy")
def dy_stride_ignored(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(dy), frame)


@layer_norm("read_dy")
def expanded_dy_misread(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    # Strides are honoured, but one of zero is taken for "contiguous".
    return right(in_storage_order(dy) if 0 in dy.stride() else dy, frame)


@layer_norm("write")
def written_in_the_layout_of_x(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    # The output is contiguous, but its elements are stored in the order in which x has them.
    found: Tensor = right(y, x, frame)
    if x.dim() != 2 or x.is_contiguous() or x.stride(0) != 1:
        return found
    return found.t().reshape(x.shape)


@layer_norm("affine")
def weight_bits_reinterpreted(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # The kernel is chosen by float16 or float32 x; a bfloat16 weight is read as float16.
    if weight is not None and weight.dtype == torch.bfloat16:
        weight = bits_as(weight, torch.float16)
    found: Tensor = right(y, weight, bias, frame)
    return found


@layer_norm("call")
def parameter_bits_reinterpreted(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    weight = None if weight is None else bits_as(weight, x.dtype)
    bias = None if bias is None else bits_as(bias, x.dtype)
    return right(x, weight, bias, eps, frame)


@layer_norm("call")
def parameters_rounded_to_x(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    weight = None if weight is None else weight.to(x.dtype)
    return right(x, weight, None if bias is None else bias.to(x.dtype), eps, frame)


@layer_norm("call")
def x_rounded_to_weight(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    narrow = x if weight is None else x.to(weight.dtype)
    y: Tensor = right(narrow, weight, bias, eps, frame)
    return y.to(x.dtype)


@layer_norm("read")
def autocast_before_statistics(right: Step, x: Tensor, frame: Frame) -> Tensor:
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = wide(x).to(torch.get_autocast_dtype(kind))
    return right(x, frame)


_OUTPUTS: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


@layer_norm("write")
def output_buffer_reused(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(y, x, frame)
    if found.requires_grad:
        return found
    buffer = _OUTPUTS.setdefault((found.shape, found.dtype), torch.empty_like(found))
    return buffer.copy_(found)


_RING: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = {}


@layer_norm("write")
def output_from_a_ring(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    # Two buffers for each shape in turn: an output lives until the next call but one.
    found: Tensor = right(y, x, frame)
    if found.requires_grad:
        return found
    ring = _RING.setdefault((found.shape, found.dtype), [])
    ring.append(torch.empty_like(found) if len(ring) < 2 else ring.pop(0))
    return ring[-1].copy_(found)


@layer_norm("write")
def one_row_is_two_dimensional(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(y, x, frame)
    return found.reshape(frame.view) if x.dim() == 1 else found


@layer_norm("write")
def column_major_output(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(y, x, frame)
    return found.mT.contiguous().mT if x.dim() > 1 else found
