"""Layer, RMS and L2 norm of rows that no program holds: chunk after chunk, read once per pass.

The sums of the chunks are kept beside each other and then added as a row is, so that a row has one
tree of additions whatever its chunks are.
"""

from __future__ import annotations

import triton
import triton.language as tl

from normcheck.kernels._tiles import (
    affine,
    deviation,
    factor,
    load,
    over,
    projection_over,
    root_over,
    sum_columns,
    sum_rows,
    summand,
    whole_vectors,
)

__all__ = ["backward_long_rows", "forward_long_rows", "parts_of_long_rows"]


@triton.jit
def _sum_of_row(
    x, residual, row, mean, columns, x_row, x_column, residual_row, residual_column,
    OUT: tl.constexpr, BLOCK: tl.constexpr, LEVELS: tl.constexpr, CHUNKS: tl.constexpr,
    SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr, CENTRED: tl.constexpr, SQUARED: tl.constexpr,
    STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum a row, or the squares of its deviations."""
    slot = tl.arange(0, SLOTS)[None, :]
    sums = tl.zeros((1, SLOTS), ACC)
    for chunk in range(CHUNKS):
        column = chunk * BLOCK + tl.arange(0, BLOCK)
        inside = (column < columns)[None, :]
        values = summand(
            x, residual, row, column, x_row, x_column, residual_row, residual_column, inside,
            OUT, ACC,
        )  # fmt: skip
        if SQUARED:
            values = deviation(values, mean, inside, CENTRED)
            values *= values
        part = sum_columns(values, 1, BLOCK, LEVELS, STRICT)
        sums = tl.where(slot == chunk, part[:, None], sums)
    return sum_columns(sums, 1, SLOTS, SLOT_LEVELS, STRICT)


@triton.jit
def forward_long_rows(
    x, residual, weight, bias, y, total, means, roots,
    columns, x_row, x_column, residual_row, residual_column, eps: tl.float64,
    BLOCK: tl.constexpr, LEVELS: tl.constexpr, CHUNKS: tl.constexpr,
    SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr, VECTOR: tl.constexpr, CENTRED: tl.constexpr,
    SUMMED: tl.constexpr, ONE_PLUS: tl.constexpr, CAST: tl.constexpr, STRICT: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Normalise one row; y and total are contiguous."""
    OUT: tl.constexpr = y.dtype.element_ty
    columns = whole_vectors(columns, VECTOR)
    x_row = whole_vectors(x_row, VECTOR)
    residual_row = whole_vectors(residual_row, VECTOR)
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    count = tl.full((1,), 0.0, ACC) + columns
    mean = count
    if CENTRED:
        mean = over(
            _sum_of_row(
                x, residual, row, mean, columns, x_row, x_column, residual_row, residual_column,
                OUT, BLOCK, LEVELS, CHUNKS, SLOTS, SLOT_LEVELS, CENTRED, False, STRICT, ACC,
            ),
            count,
        )  # fmt: skip
        tl.store(means + row, mean)
    square = _sum_of_row(
        x, residual, row, mean, columns, x_row, x_column, residual_row, residual_column,
        OUT, BLOCK, LEVELS, CHUNKS, SLOTS, SLOT_LEVELS, CENTRED, True, STRICT, ACC,
    )  # fmt: skip
    root = root_over(square, count, eps, SUMMED)
    tl.store(roots + row, root)
    for chunk in range(CHUNKS):
        column = chunk * BLOCK + tl.arange(0, BLOCK)
        held = column < columns
        inside = held[None, :]
        values = summand(
            x, residual, row, column, x_row, x_column, residual_row, residual_column, inside,
            OUT, ACC,
        )  # fmt: skip
        at = row[:, None] * columns + column[None, :]
        if residual is not None:
            tl.store(total + at, values.to(OUT), mask=inside)
        values = deviation(values, mean, inside, CENTRED) * root[:, None]
        result = affine(values, weight, bias, column, held, OUT, CAST, ONE_PLUS, ACC)
        tl.store(y + at, result.to(OUT), mask=inside)


@triton.jit
def _differentiated(
    dy, x, weight, mean, root, row, column, columns, dy_row, dy_column, x_row, x_column,
    CENTRED: tl.constexpr, ONE_PLUS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return g and x_hat of a chunk."""
    held = column < columns
    inside = held[None, :]
    values = load(x, row, column, x_row, x_column, inside, ACC)
    normalised = deviation(values, mean, inside, CENTRED) * root[:, None]
    scaled = load(dy, row, column, dy_row, dy_column, inside, ACC)
    if weight is not None:
        scaled *= factor(weight, column, held, ONE_PLUS, ACC)[None, :]
    return scaled, normalised


@triton.jit
def backward_long_rows(
    dy, dtotal, x, weight, means, roots, dx,
    columns, dy_row, dy_column, dtotal_row, dtotal_column, x_row, x_column, eps: tl.float64,
    BLOCK: tl.constexpr, LEVELS: tl.constexpr, CHUNKS: tl.constexpr,
    SLOTS: tl.constexpr, SLOT_LEVELS: tl.constexpr, VECTOR: tl.constexpr, CENTRED: tl.constexpr,
    SUMMED: tl.constexpr, ONE_PLUS: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Differentiate one row by x; see `backward_rows`."""
    columns = whole_vectors(columns, VECTOR)
    dy_row = whole_vectors(dy_row, VECTOR)
    dtotal_row = whole_vectors(dtotal_row, VECTOR)
    x_row = whole_vectors(x_row, VECTOR)
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    count = tl.full((1,), 0.0, ACC) + columns
    root = tl.load(roots + row)
    mean = root
    if CENTRED:
        mean = tl.load(means + row)
    slot = tl.arange(0, SLOTS)[None, :]
    sums = tl.zeros((1, SLOTS), ACC)
    products = tl.zeros((1, SLOTS), ACC)
    for chunk in range(CHUNKS):
        column = chunk * BLOCK + tl.arange(0, BLOCK)
        scaled, normalised = _differentiated(
            dy, x, weight, mean, root, row, column, columns, dy_row, dy_column, x_row, x_column,
            CENTRED, ONE_PLUS, ACC,
        )  # fmt: skip
        part = sum_columns(scaled * normalised, 1, BLOCK, LEVELS, STRICT)
        products = tl.where(slot == chunk, part[:, None], products)
        if CENTRED:
            part = sum_columns(scaled, 1, BLOCK, LEVELS, STRICT)
            sums = tl.where(slot == chunk, part[:, None], sums)
    product = sum_columns(products, 1, SLOTS, SLOT_LEVELS, STRICT)
    projection = projection_over(product, root, count, eps, SUMMED)
    shift = over(sum_columns(sums, 1, SLOTS, SLOT_LEVELS, STRICT), count)
    for chunk in range(CHUNKS):
        column = chunk * BLOCK + tl.arange(0, BLOCK)
        inside = (column < columns)[None, :]
        scaled, normalised = _differentiated(
            dy, x, weight, mean, root, row, column, columns, dy_row, dy_column, x_row, x_column,
            CENTRED, ONE_PLUS, ACC,
        )  # fmt: skip
        result = scaled
        if CENTRED:
            result -= shift[:, None]
        result = (result - normalised * projection[:, None]) * root[:, None]
        if dtotal is not None:
            result += load(dtotal, row, column, dtotal_row, dtotal_column, inside, ACC)
        at = row[:, None] * columns + column[None, :]
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "tiles"])
def parts_of_long_rows(
    dy, x, means, roots, weight_parts, bias_parts,
    rows, columns, tiles, dy_row, dy_column, x_row, x_column,
    ROWS: tl.constexpr, ROW_LEVELS: tl.constexpr, BLOCK: tl.constexpr,
    VECTOR: tl.constexpr, CENTRED: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sum dweight and dbias of a chunk of columns over some tiles of rows."""
    columns = whole_vectors(columns, VECTOR)
    dy_row = whole_vectors(dy_row, VECTOR)
    x_row = whole_vectors(x_row, VECTOR)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = column < columns
    weight_sum = tl.zeros((ROWS, BLOCK), ACC)
    bias_sum = tl.zeros((ROWS, BLOCK), ACC)
    for tile in range(tiles):
        row = (tl.program_id(1).to(tl.int64) * tiles + tile) * ROWS + tl.arange(0, ROWS)
        held_row = row < rows
        inside = held_row[:, None] & held[None, :]
        given = load(dy, row, column, dy_row, dy_column, inside, ACC)
        if weight_parts is not None:
            root = tl.load(roots + row, mask=held_row, other=0.0)
            mean = root
            if CENTRED:
                mean = tl.load(means + row, mask=held_row, other=0.0)
            values = load(x, row, column, x_row, x_column, inside, ACC)
            weight_sum += given * (deviation(values, mean, inside, CENTRED) * root[:, None])
        if bias_parts is not None:
            bias_sum += given
    place = tl.program_id(1).to(tl.int64) * columns + column
    if weight_parts is not None:
        part = sum_rows(weight_sum, ROWS, BLOCK, ROW_LEVELS, STRICT)
        tl.store(weight_parts + place, part, mask=held)
    if bias_parts is not None:
        part = sum_rows(bias_sum, ROWS, BLOCK, ROW_LEVELS, STRICT)
        tl.store(bias_parts + place, part, mask=held)
