"""Group and batch norm, forward: slices of (samples, channels, positions) that share statistics.

A slice is a number of lines: the channels of a group, or a channel's samples. Element j of line i
is at base + i step + j point. Where the channels of a group are neighbours in memory they are a
line's elements, and its lines the positions. Slices that fit a program are read once; of others,
tiles of IN x JN elements are summed each by its own program, and the tiles' sums and squares are
combined before x is read again.
"""

from __future__ import annotations

import triton
import triton.language as tl

from normcheck.kernels._tiles import deviation, over, root_of, sum_columns, whole_vectors

__all__ = [
    "address",
    "combine_statistics",
    "given_statistics",
    "located",
    "normalise_slices",
    "parameter",
    "slice_statistics",
    "whole_sizes",
    "whole_slices",
    "whole_strides",
]


@triton.jit
def located(
    rows, lines, along, tiles, across, ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr,
    BY_ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Return the tile's number, its slices and elements, and which of them are.

    ``tiles`` is how many a slice has, ``across`` how many of them a line has. Numbers are of 32
    bits where they can be: quotients of 64 bits take longer than a slice's arithmetic.
    """
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    if BY_ROWS:
        # Programs after each other share the lines of the cache.
        blocks = tl.cdiv(rows, ROWS)
        tile = program // blocks
        row = (program % blocks) * ROWS + tl.arange(0, ROWS)
    else:
        tile = program % tiles
        row = (program // tiles) * ROWS + tl.arange(0, ROWS)
    element = tl.arange(0, IN * JN)
    i = (tile // across) * IN + element // JN
    j = (tile % across) * JN + element % JN
    inside = (row < rows)[:, None] & ((i < lines) & (j < along))[None, :]
    return tile, row, i, j, inside


@triton.jit
def address(row, i, j, per, outer, inner, step, point):
    """Where elements are: ``per`` slices, ``inner`` apart, are in a sample."""
    base = (row // per).to(tl.int64) * outer + (row % per).to(tl.int64) * inner
    return base[:, None] + (i.to(tl.int64) * step + j.to(tl.int64) * point)[None, :]


@triton.jit
def whole_sizes(rows, along, per, VECTOR: tl.constexpr, BY_ROWS: tl.constexpr):
    """Show the compiler whole vectors, of a line or, channels last, of slices."""
    if BY_ROWS:
        return whole_vectors(rows, VECTOR), along, whole_vectors(per, VECTOR)
    return rows, whole_vectors(along, VECTOR), per


@triton.jit
def whole_strides(
    outer, inner, step, point, VECTOR: tl.constexpr, BY_ROWS: tl.constexpr
):  # fmt: skip
    """Likewise."""
    outer = whole_vectors(outer, VECTOR)
    step = whole_vectors(step, VECTOR)
    if BY_ROWS:
        point = whole_vectors(point, VECTOR)
    else:
        inner = whole_vectors(inner, VECTOR)
    return outer, inner, step, point


@triton.jit
def parameter(
    pointer, row, first, i, j, held, inside, per, deep, CHANNELS: tl.constexpr, IN: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """What a channel has, for each element; CHANNELS: one a slice (0), a line (1), an element (2).

    ``deep`` is how many channels a slice has, ``first`` the tile's first line.
    """
    channel = (row % per) * deep
    if CHANNELS == 2:
        found = tl.load(pointer + channel[:, None] + j[None, :], mask=inside, other=0.0)
    elif CHANNELS == 1 and IN > 1:
        found = tl.load(pointer + channel[:, None] + i[None, :], mask=inside, other=0.0)
    else:
        if CHANNELS == 1:
            channel += first
        found = tl.load(pointer + channel, mask=held, other=0.0)[:, None]
    return found.to(ACC)


@triton.jit
def _root_of_mean(square, count, eps):
    one = tl.full(square.shape, 1.0, square.dtype)
    return over(one, root_of(over(square, count) + tl.full(square.shape, eps, square.dtype)))


@triton.jit
def _finished(
    values, weight, bias, row, first, i, j, held, inside, per, deep, OUT: tl.constexpr,
    CAST: tl.constexpr, ONE_PLUS: tl.constexpr, CHANNELS: tl.constexpr, IN: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Times weight, plus bias; CAST rounds before."""
    if CAST:
        values = values.to(OUT).to(ACC)
    if weight is not None:
        factor = parameter(weight, row, first, i, j, held, inside, per, deep, CHANNELS, IN, ACC)
        if ONE_PLUS:
            factor += 1.0
        values = values * factor
    if bias is not None:
        values += parameter(bias, row, first, i, j, held, inside, per, deep, CHANNELS, IN, ACC)
    return values.to(OUT)


@triton.jit
def whole_slices(
    x, weight, bias, y, means, roots, variances,
    rows, lines, along, per, deep, outer, inner, step, point, y_outer, y_inner, y_step, y_point,
    eps: tl.float64, ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr,
    LEVELS: tl.constexpr, VECTOR: tl.constexpr, BY_ROWS: tl.constexpr, WIDE: tl.constexpr,
    CHANNELS: tl.constexpr, ONE_PLUS: tl.constexpr, CAST: tl.constexpr, STRICT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Normalise ROWS slices that fit."""
    rows, along, per = whole_sizes(rows, along, per, VECTOR, BY_ROWS)
    outer, inner, step, point = whole_strides(outer, inner, step, point, VECTOR, BY_ROWS)
    y_outer, y_inner, y_step, y_point = whole_strides(
        y_outer, y_inner, y_step, y_point, VECTOR, BY_ROWS
    )  # fmt: skip
    _, row, i, j, inside = located(rows, lines, along, 1, 1, ROWS, IN, JN, BY_ROWS, WIDE)
    at = address(row, i, j, per, outer, inner, step, point)
    values = tl.load(x + at, mask=inside, other=0.0).to(ACC)
    held = row < rows
    count = tl.full((ROWS,), 0.0, ACC) + lines * along
    mean = over(sum_columns(values, ROWS, IN * JN, LEVELS, STRICT), count)
    values = deviation(values, mean, inside, True)
    square = sum_columns(values * values, ROWS, IN * JN, LEVELS, STRICT)
    root = _root_of_mean(square, count, eps)
    tl.store(means + row, mean, mask=held)
    tl.store(roots + row, root, mask=held)
    if variances is not None:
        tl.store(variances + row, over(square, count - 1.0), mask=held)
    result = _finished(
        values * root[:, None], weight, bias, row, 0, i, j, held, inside, per, deep,
        y.dtype.element_ty, CAST, ONE_PLUS, CHANNELS, IN, ACC,
    )  # fmt: skip
    place = address(row, i, j, per, y_outer, y_inner, y_step, y_point)
    tl.store(y + place, result, mask=inside)


@triton.jit
def slice_statistics(
    x, sums, squares, rows, lines, along, tiles, across, per, outer, inner, step, point,
    ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr, LEVELS: tl.constexpr,
    VECTOR: tl.constexpr, BY_ROWS: tl.constexpr, WIDE: tl.constexpr, STRICT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Sum a tile of ROWS slices, and the squares of its deviations from its own mean."""
    rows, along, per = whole_sizes(rows, along, per, VECTOR, BY_ROWS)
    outer, inner, step, point = whole_strides(outer, inner, step, point, VECTOR, BY_ROWS)
    tile, row, i, j, inside = located(
        rows, lines, along, tiles, across, ROWS, IN, JN, BY_ROWS, WIDE
    )
    at = address(row, i, j, per, outer, inner, step, point)
    values = tl.load(x + at, mask=inside, other=0.0).to(ACC)
    total = sum_columns(values, ROWS, IN * JN, LEVELS, STRICT)
    mean = over(total, tl.full((ROWS,), 0.0, ACC) + _held(tile, lines, along, across, IN, JN))
    values = deviation(values, mean, inside, True)
    square = sum_columns(values * values, ROWS, IN * JN, LEVELS, STRICT)
    held = row < rows
    tl.store(sums + row.to(tl.int64) * tiles + tile, total, mask=held)
    tl.store(squares + row.to(tl.int64) * tiles + tile, square, mask=held)


@triton.jit
def _held(tile, lines, along, across, IN: tl.constexpr, JN: tl.constexpr):
    """How many elements a tile has of a slice."""
    tall = tl.minimum(lines - (tile // across) * IN, IN)
    return tall * tl.minimum(along - (tile % across) * JN, JN)


@triton.jit(do_not_specialize=["blocks"])
def combine_statistics(
    sums, squares, means, roots, variances, rows, length, lines, along, tiles, across,
    blocks, eps: tl.float64, ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr,
    SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Combine the tiles of ROWS slices: their squares, and those of their means' deviations."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    held_row = row < rows
    everything = tl.full((ROWS,), 0.0, ACC) + length
    total = tl.zeros((ROWS,), ACC)
    for block in range(blocks):
        slot = block * SLOTS + tl.arange(0, SLOTS)
        held = held_row[:, None] & (slot < tiles)[None, :]
        part = tl.load(sums + row[:, None] * tiles + slot[None, :], mask=held, other=0.0)
        total += sum_columns(part, ROWS, SLOTS, SLOT_LEVELS, STRICT)
    mean = over(total, everything)
    square = tl.zeros((ROWS,), ACC)
    for block in range(blocks):
        slot = block * SLOTS + tl.arange(0, SLOTS)
        held = held_row[:, None] & (slot < tiles)[None, :]
        at = row[:, None] * tiles + slot[None, :]
        count = tl.full((ROWS, SLOTS), 0.0, ACC)
        count += _held(slot.to(tl.int64), lines, along, across, IN, JN)[None, :]
        # What is beyond the last tile has no elements to divide by.
        count = tl.where(held, count, 1.0)
        part = tl.load(sums + at, mask=held, other=0.0)
        away = over(part, count) - mean[:, None]
        part = tl.load(squares + at, mask=held, other=0.0)
        part = tl.where(held, part + count * away * away, 0.0)
        square += sum_columns(part, ROWS, SLOTS, SLOT_LEVELS, STRICT)
    tl.store(means + row, mean, mask=held_row)
    tl.store(roots + row, _root_of_mean(square, everything, eps), mask=held_row)
    if variances is not None:
        tl.store(variances + row, over(square, everything - 1.0), mask=held_row)


@triton.jit
def given_statistics(
    mean, variance, means, roots, channels, eps: tl.float64, BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Take the running statistics for those of the batch."""
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = channel < channels
    found = tl.load(variance + channel, mask=held, other=1.0).to(ACC)
    root = _root_of_mean(found, tl.full((BLOCK,), 1.0, ACC), eps)
    tl.store(roots + channel, root, mask=held)
    tl.store(means + channel, tl.load(mean + channel, mask=held, other=0.0).to(ACC), mask=held)


@triton.jit
def normalise_slices(
    x, weight, bias, y, means, roots,
    rows, lines, along, tiles, across, per, deep,
    outer, inner, step, point, y_outer, y_inner, y_step, y_point,
    ROWS: tl.constexpr, IN: tl.constexpr, JN: tl.constexpr, VECTOR: tl.constexpr,
    BY_ROWS: tl.constexpr, WIDE: tl.constexpr, CHANNELS: tl.constexpr, ONE_PLUS: tl.constexpr,
    CAST: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Normalise a tile of ROWS slices by statistics that are known."""
    rows, along, per = whole_sizes(rows, along, per, VECTOR, BY_ROWS)
    outer, inner, step, point = whole_strides(outer, inner, step, point, VECTOR, BY_ROWS)
    y_outer, y_inner, y_step, y_point = whole_strides(
        y_outer, y_inner, y_step, y_point, VECTOR, BY_ROWS
    )  # fmt: skip
    tile, row, i, j, inside = located(
        rows, lines, along, tiles, across, ROWS, IN, JN, BY_ROWS, WIDE
    )
    held = row < rows
    mean = tl.load(means + row, mask=held, other=0.0)
    root = tl.load(roots + row, mask=held, other=0.0)
    at = address(row, i, j, per, outer, inner, step, point)
    values = tl.load(x + at, mask=inside, other=0.0).to(ACC)
    result = _finished(
        (values - mean[:, None]) * root[:, None], weight, bias, row, (tile // across) * IN, i, j,
        held, inside, per, deep, y.dtype.element_ty, CAST, ONE_PLUS, CHANNELS, IN, ACC,
    )  # fmt: skip
    place = address(row, i, j, per, y_outer, y_inner, y_step, y_point)
    tl.store(y + place, result, mask=inside)
