"""Layer, RMS and L2 norm of rows that fit a program: x is read once, statistics take two passes.

A row of ``columns`` elements is padded with zeros to BLOCK. What is summed over rows, dweight and
dbias, is summed per program over its tiles, element by element, then over the ROWS of a tile,
and stored in float32 (float64): `_columns.py` adds the programs' parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

from normcheck.kernels._tiles import (
    affine,
    deviation,
    factor_or_one,
    load,
    over,
    projection_over,
    root_over,
    sum_columns,
    sum_rows,
    summand,
    whole_vectors,
)

__all__ = ["backward_rows", "forward_rows"]


@triton.jit(do_not_specialize=["rows"])
def forward_rows(
    x, residual, weight, bias, y, total, means, roots,
    rows, columns, x_row, x_column, residual_row, residual_column, eps: tl.float64,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, LEVELS: tl.constexpr,
    VECTOR: tl.constexpr, CENTRED: tl.constexpr, SUMMED: tl.constexpr, ONE_PLUS: tl.constexpr,
    CAST: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Normalise ROWS rows; y and total are contiguous."""
    OUT: tl.constexpr = y.dtype.element_ty
    columns = whole_vectors(columns, VECTOR)
    x_row = whole_vectors(x_row, VECTOR)
    residual_row = whole_vectors(residual_row, VECTOR)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    held_row, held = row < rows, column < columns
    inside = held_row[:, None] & held[None, :]
    values = summand(
        x, residual, row, column, x_row, x_column, residual_row, residual_column, inside, OUT, ACC
    )  # fmt: skip
    at = row[:, None] * columns + column[None, :]
    if residual is not None:
        tl.store(total + at, values.to(OUT), mask=inside)
    count = tl.full((ROWS,), 0.0, ACC) + columns
    mean = count
    if CENTRED:
        mean = over(sum_columns(values, ROWS, BLOCK, LEVELS, STRICT), count)
        tl.store(means + row, mean, mask=held_row)
    values = deviation(values, mean, inside, CENTRED)
    square = sum_columns(values * values, ROWS, BLOCK, LEVELS, STRICT)
    root = root_over(square, count, eps, SUMMED)
    tl.store(roots + row, root, mask=held_row)
    result = affine(
        values * root[:, None], weight, bias, column, held, OUT, CAST, ONE_PLUS, ACC
    )  # fmt: skip
    tl.store(y + at, result.to(OUT), mask=inside)


@triton.jit(do_not_specialize=["rows", "tiles"])
def backward_rows(
    dy, dtotal, x, weight, means, roots, dx, weight_parts, bias_parts,
    rows, columns, tiles, dy_row, dy_column, dtotal_row, dtotal_column, x_row, x_column,
    eps: tl.float64, ROWS: tl.constexpr, ROW_LEVELS: tl.constexpr, BLOCK: tl.constexpr,
    LEVELS: tl.constexpr, VECTOR: tl.constexpr, CENTRED: tl.constexpr, SUMMED: tl.constexpr,
    ONE_PLUS: tl.constexpr, STRICT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Differentiate some tiles: dx = root (g - mean g - x_hat mean(g x_hat)), g = dy weight."""
    columns = whole_vectors(columns, VECTOR)
    dy_row = whole_vectors(dy_row, VECTOR)
    dtotal_row = whole_vectors(dtotal_row, VECTOR)
    x_row = whole_vectors(x_row, VECTOR)
    column = tl.arange(0, BLOCK)
    held = column < columns
    count = tl.full((ROWS,), 0.0, ACC) + columns
    weight_sum = tl.zeros((ROWS, BLOCK), ACC)
    bias_sum = tl.zeros((ROWS, BLOCK), ACC)
    # Read once: the rows of a program share it.
    scale = factor_or_one(weight, column, held, BLOCK, ONE_PLUS, ACC)
    first = tl.program_id(0).to(tl.int64) * tiles * ROWS
    for tile in range(tiles):
        row = first + tile * ROWS + tl.arange(0, ROWS)
        held_row = row < rows
        inside = held_row[:, None] & held[None, :]
        root = tl.load(roots + row, mask=held_row, other=0.0)
        mean = root
        if CENTRED:
            mean = tl.load(means + row, mask=held_row, other=0.0)
        values = load(x, row, column, x_row, x_column, inside, ACC)
        normalised = deviation(values, mean, inside, CENTRED) * root[:, None]
        given = load(dy, row, column, dy_row, dy_column, inside, ACC)
        # Here, so that dy is not kept while the row is summed.
        if weight_parts is not None:
            weight_sum += given * normalised
        if bias_parts is not None:
            bias_sum += given
        scaled = given * scale[None, :]
        products = sum_columns(scaled * normalised, ROWS, BLOCK, LEVELS, STRICT)
        projection = projection_over(products, root, count, eps, SUMMED)
        result = scaled
        if CENTRED:
            result -= over(sum_columns(scaled, ROWS, BLOCK, LEVELS, STRICT), count)[:, None]
        result = (result - normalised * projection[:, None]) * root[:, None]
        if dtotal is not None:
            result += load(dtotal, row, column, dtotal_row, dtotal_column, inside, ACC)
        at = row[:, None] * columns + column[None, :]
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=inside)
    place = tl.program_id(0).to(tl.int64) * columns + column
    if weight_parts is not None:
        part = sum_rows(weight_sum, ROWS, BLOCK, ROW_LEVELS, STRICT)
        tl.store(weight_parts + place, part, mask=held)
    if bias_parts is not None:
        part = sum_rows(bias_sum, ROWS, BLOCK, ROW_LEVELS, STRICT)
        tl.store(bias_parts + place, part, mask=held)
