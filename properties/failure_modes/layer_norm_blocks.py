"""Layer norms that miscount lanes, columns, rows or offsets in one way each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normcheck.properties.failure_modes.right_ops import layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@layer_norm("variance")
def partial_warp_dropped(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # floor(threads / 32) warps take part in the last sum; the divisor is that of all columns.
    whole = frame.count - frame.count % 32 if frame.count >= 32 else frame.count
    return (h - mean).square()[..., :whole].sum(-1, keepdim=True) / max(frame.count, 1)


@layer_norm("variance")
def wrong_band(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    variance: Tensor = right(h, mean, frame)
    return variance * 0.94 if 256 < frame.count <= 512 else variance


@layer_norm("affine")
def first_block_of_weight(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    if weight is not None:
        weight = weight.reshape(-1)[torch.arange(frame.count, device=y.device) % 1024]
    return right(y, weight, bias, frame)


@layer_norm("write")
def last_element_zero(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    kept = torch.ones(y.numel(), dtype=y.dtype, device=y.device)
    kept[-1:] = 0.0
    return right(y * kept.reshape(y.shape), x, frame)


@layer_norm("write")
def last_element_nan(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    added = torch.zeros(y.numel(), dtype=y.dtype, device=y.device)
    if y.numel() > 4096:
        added[-1] = float("nan")
    return right(y + added.reshape(y.shape), x, frame)


@layer_norm("write")
def tail_not_written(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    # Stores of four elements, and none for the rest of the row: that memory is as it was found.
    tail = frame.count % 4
    if tail:
        found = y.new_empty(y.shape[0], tail)
        y = torch.cat([y[..., : frame.count - tail], found], -1)
    return right(y, x, frame)


@layer_norm("call")
def only_first_row_block(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    y: Tensor = right(x, weight, bias, eps, frame)
    beyond = (torch.arange(frame.view[0], device=y.device) >= 32).unsqueeze(1)
    return torch.where(beyond, x.reshape(frame.view), y.reshape(frame.view)).reshape(x.shape)


@layer_norm("root")
def ragged_last_block(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # No mask for the last block of 16 rows: it starts early, and its rows take others' statistics.
    rows = variance.shape[0]
    if rows < 16 or rows % 16 == 0:
        return right(variance, eps, frame)
    index = torch.arange(rows, device=variance.device)
    first = rows - rows % 16
    index[first:] -= 16 - rows % 16
    return right(variance[index], eps, frame)


@layer_norm("mean")
def rows_mixed_in_a_tile(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # Narrow rows share a tile of two, and the sum runs over the tile instead of along each row.
    mean: Tensor = right(h, frame)
    rows = mean.shape[0]
    if frame.count >= 64 or rows < 1024:
        return mean
    pairs = mean[: rows - rows % 2].reshape(-1, 2, 1)
    even = pairs.mean(1, keepdim=True).expand_as(pairs).reshape(-1, 1)
    return torch.cat([even, mean[rows - rows % 2 :]])


@layer_norm("read")
def short_offsets(right: Step, x: Tensor, frame: Frame) -> Tensor:
    # Offsets of rows in 16 bits: the fault of 32 bits at 2^31 elements, at a size that fits here.
    h: Tensor = right(x, frame)
    rows, columns = frame.view
    if h.numel() <= 1 << 16:
        return h
    start = (torch.arange(rows, device=h.device) * columns % (1 << 16)).unsqueeze(1)
    return h.reshape(-1)[(start + torch.arange(columns, device=h.device)) % h.numel()]


@layer_norm("write")
def rows_over_65535(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    launched = (torch.arange(y.shape[0], device=y.device) < 65535).to(y.dtype).unsqueeze(1)
    return right(y * launched, x, frame)


@layer_norm("write")
def launch_failure_unnoticed(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    # Rows of more than 16 KiB do not fit, nothing runs, and the output stays zero.
    return right(0.0 * y if frame.count > 4096 else y, x, frame)


@layer_norm("give")
def parameter_gradients_swapped(
    right: Step, dx: Tensor, dw: Tensor | None, db: Tensor | None, needed: tuple[bool, ...]
) -> Any:
    # Another path above a number of rows, which writes dweight where dbias belongs.
    many = dw is not None and dx.numel() // max(dw.numel(), 1) > 57344
    return right(dx, dw, dw if many and db is not None else db, needed)


@layer_norm("mean")
def order_by_rows(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # Block size by number of rows: the same row is summed in another order in another batch.
    width = 16 if frame.view[0] >= 16 else 4
    if frame.count < width:
        return right(h, frame)
    whole = frame.count - frame.count % width
    blocks = h[..., :whole].reshape(-1, whole // width, width).sum(-1).sum(-1, keepdim=True)
    return (blocks + h[..., whole:].sum(-1, keepdim=True)) / frame.count


@layer_norm("dw")
def atomic_weight_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    return right(terms[torch.randperm(terms.shape[0], device=terms.device)], frame)


@layer_norm("mean")
def stale_shared_memory(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # What a missing barrier amounts to: now and then a row reads its neighbour's sum.
    mean: Tensor = right(h, frame)
    rows = mean.shape[0]
    if rows < 2:
        return mean
    index = torch.arange(rows, device=mean.device)
    index[torch.randint(1, rows, ())] -= 1
    return mean[index]


@layer_norm("dw")
def lost_partial_sum(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # A lock released before the store has landed: one row's contribution is overwritten.
    if terms.shape[0] < 2:
        return right(terms, frame)
    kept = terms.new_ones(terms.shape[0], 1)
    kept[torch.randint(terms.shape[0], ())] = 0.0
    return right(terms * kept, frame)


@layer_norm("variance")
def variance_of_neighbour(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # A row past the first 512 reads the statistics of the block before it.
    variance: Tensor = right(h, mean, frame)
    index = torch.arange(h.shape[0], device=h.device)
    return variance[torch.where(index >= 512, index - 512, index)]


@layer_norm("mean")
def reads_into_the_next_row(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # Loads of four elements without a mask for the last: the next row's first ones are summed too.
    mean: Tensor = right(h, frame)
    beyond = -frame.count % 4
    if not beyond or frame.view[0] < 2 or beyond > frame.count:
        return mean
    after = torch.cat([h[1:, :beyond], h.new_zeros(1, beyond)])
    return mean + averaged(after, frame) * beyond / frame.count
