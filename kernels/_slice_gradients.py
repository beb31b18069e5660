"""Group and batch norm, backward: sums of dy and of dy x_hat per channel, then dx.

The sums of tiles are kept, [slices, tiles], and added twice: over a slice, times weight, for dx,
and over samples for dbias and dweight.
"""

from __future__ import annotations

import triton
import triton.language as tl

from normcheck.kernels._slices import address, located, parameter, whole_sizes, whole_strides
from normcheck.kernels._tiles import over, sum_columns

__all__ = ["channel_sums", "combine_terms", "differentiate_slices", "slice_terms"]


@triton.jit
def slice_terms(
    dy, x, means, roots, bias_terms, weight_terms,
    rows, lines, along, tiles, across, per, deep,
    dy_outer, dy_inner, dy_step, dy_point, outer, inner, step, point,
    ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr, LEVELS: tl.constexpr,
    VECTOR: tl.constexpr, BY_ROWS: tl.constexpr, WIDE: tl.constexpr, STRICT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Sum dy, and dy x_hat, over a tile of ROWS channels; ``deep`` of them share a mean."""
    rows, along, per = whole_sizes(rows, along, per, VECTOR, BY_ROWS)
    outer, inner, step, point = whole_strides(outer, inner, step, point, VECTOR, BY_ROWS)
    dy_outer, dy_inner, dy_step, dy_point = whole_strides(
        dy_outer, dy_inner, dy_step, dy_point, VECTOR, BY_ROWS
    )  # fmt: skip
    tile, row, i, j, inside = located(
        rows, lines, along, tiles, across, ROWS, IN, JN, BY_ROWS, WIDE
    )
    held = row < rows
    mean = tl.load(means + row // deep, mask=held, other=0.0)
    root = tl.load(roots + row // deep, mask=held, other=0.0)
    at = address(row, i, j, per, outer, inner, step, point)
    values = tl.load(x + at, mask=inside, other=0.0).to(ACC)
    at = address(row, i, j, per, dy_outer, dy_inner, dy_step, dy_point)
    given = tl.load(dy + at, mask=inside, other=0.0).to(ACC)
    # Where nothing is dy is zero, and so is the product.
    products = given * ((values - mean[:, None]) * root[:, None])
    place = row.to(tl.int64) * tiles + tile
    total = sum_columns(given, ROWS, IN * JN, LEVELS, STRICT)
    tl.store(bias_terms + place, total, mask=held)
    total = sum_columns(products, ROWS, IN * JN, LEVELS, STRICT)
    tl.store(weight_terms + place, total, mask=held)


@triton.jit(do_not_specialize=["blocks"])
def combine_terms(
    bias_terms, weight_terms, weight, shifts, projections, rows, length, slots, tiles, per, deep,
    blocks, ROWS: tl.constexpr, SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr,
    ONE_PLUS: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return what dx loses: the means of g and of g x_hat over ROWS slices, g = dy weight.

    A slice has ``slots`` terms, ``tiles`` of each channel.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    held_row = row < rows
    count = tl.full((ROWS,), 0.0, ACC) + length
    shift = tl.zeros((ROWS,), ACC)
    projection = tl.zeros((ROWS,), ACC)
    for block in range(blocks):
        slot = block * SLOTS + tl.arange(0, SLOTS)
        held = held_row[:, None] & (slot < slots)[None, :]
        at = row[:, None] * slots + slot[None, :]
        term = tl.load(bias_terms + at, mask=held, other=0.0)
        product = tl.load(weight_terms + at, mask=held, other=0.0)
        if weight is not None:
            channel = (row % per)[:, None] * deep + (slot // tiles)[None, :]
            factor = tl.load(weight + channel, mask=held, other=0.0).to(ACC)
            if ONE_PLUS:
                factor += 1.0
            term *= factor
            product *= factor
        shift += sum_columns(term, ROWS, SLOTS, SLOT_LEVELS, STRICT)
        projection += sum_columns(product, ROWS, SLOTS, SLOT_LEVELS, STRICT)
    tl.store(shifts + row, over(shift, count), mask=held_row)
    tl.store(projections + row, over(projection, count), mask=held_row)


@triton.jit(do_not_specialize=["blocks"])
def channel_sums(
    terms, result, channels, slots, tiles, blocks,
    ROWS: tl.constexpr, SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr,
    STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum a channel's terms over samples, ``tiles`` of each, and round once."""
    channel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    held = channel < channels
    total = tl.zeros((ROWS,), ACC)
    for block in range(blocks):
        slot = block * SLOTS + tl.arange(0, SLOTS)
        sample = (slot // tiles).to(tl.int64) * channels * tiles
        at = channel[:, None] * tiles + (sample + slot % tiles)[None, :]
        inside = held[:, None] & (slot < slots)[None, :]
        part = tl.load(terms + at, mask=inside, other=0.0)
        total += sum_columns(part, ROWS, SLOTS, SLOT_LEVELS, STRICT)
    tl.store(result + channel, total.to(result.dtype.element_ty), mask=held)


@triton.jit
def differentiate_slices(
    dy, x, weight, means, roots, shifts, projections, dx,
    rows, lines, along, tiles, across, per, deep,
    dy_outer, dy_inner, dy_step, dy_point, outer, inner, step, point,
    dx_outer, dx_inner, dx_step, dx_point,
    ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr, VECTOR: tl.constexpr,
    BY_ROWS: tl.constexpr, WIDE: tl.constexpr, CHANNELS: tl.constexpr, ONE_PLUS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Differentiate a tile: dx = root (g - mean g - x_hat mean(g x_hat)), or root g if given."""
    rows, along, per = whole_sizes(rows, along, per, VECTOR, BY_ROWS)
    outer, inner, step, point = whole_strides(outer, inner, step, point, VECTOR, BY_ROWS)
    dy_outer, dy_inner, dy_step, dy_point = whole_strides(
        dy_outer, dy_inner, dy_step, dy_point, VECTOR, BY_ROWS
    )  # fmt: skip
    dx_outer, dx_inner, dx_step, dx_point = whole_strides(
        dx_outer, dx_inner, dx_step, dx_point, VECTOR, BY_ROWS
    )  # fmt: skip
    tile, row, i, j, inside = located(
        rows, lines, along, tiles, across, ROWS, IN, JN, BY_ROWS, WIDE
    )
    held = row < rows
    root = tl.load(roots + row, mask=held, other=0.0)[:, None]
    at = address(row, i, j, per, dy_outer, dy_inner, dy_step, dy_point)
    result = tl.load(dy + at, mask=inside, other=0.0).to(ACC)
    if weight is not None:
        first = (tile // across) * IN
        factor = parameter(
            weight, row, first, i, j, held, inside, per, deep, CHANNELS, IN, ACC
        )  # fmt: skip
        if ONE_PLUS:
            factor += 1.0
        result *= factor
    # Running statistics do not depend on x.
    if shifts is not None:
        mean = tl.load(means + row, mask=held, other=0.0)
        shift = tl.load(shifts + row, mask=held, other=0.0)
        projection = tl.load(projections + row, mask=held, other=0.0)
        at = address(row, i, j, per, outer, inner, step, point)
        values = tl.load(x + at, mask=inside, other=0.0).to(ACC)
        normalised = (values - mean[:, None]) * root
        result = result - shift[:, None] - normalised * projection[:, None]
    at = address(row, i, j, per, dx_outer, dx_inner, dx_step, dx_point)
    tl.store(dx + at, (result * root).to(dx.dtype.element_ty), mask=inside)
