"""What all kernels do with a tile of rows: load it, sum it, take correctly rounded roots.

Tiles are [ROWS, SIZE] in ACC: float32 or, for float64 inputs, float64. Roots and quotients are
IEEE's in both modes, as there are few of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "affine",
    "deviation",
    "factor",
    "factor_or_one",
    "load",
    "over",
    "projection_over",
    "root_over",
    "sum_columns",
    "sum_rows",
    "summand",
    "whole_vectors",
]


@triton.jit
def whole_vectors(size, VECTOR: tl.constexpr):
    """The same number, as one of which the compiler sees that it is whole vectors."""
    return (size // VECTOR) * VECTOR


@triton.jit
def sum_columns(
    values, ROWS: tl.constexpr, SIZE: tl.constexpr, LEVELS: tl.constexpr, STRICT: tl.constexpr
):  # fmt: skip
    """Sum each row: STRICT adds neighbours until one is left, as a sum of two has one order."""
    if STRICT:
        for level in tl.static_range(LEVELS):
            values = tl.sum(tl.reshape(values, (ROWS, SIZE >> (level + 1), 2)), axis=2)
        return tl.reshape(values, (ROWS,))
    return tl.sum(values, axis=1)


@triton.jit
def sum_rows(
    values, ROWS: tl.constexpr, SIZE: tl.constexpr, LEVELS: tl.constexpr, STRICT: tl.constexpr
):  # fmt: skip
    """Sum each column, likewise."""
    if STRICT:
        for level in tl.static_range(LEVELS):
            values = tl.sum(tl.reshape(values, (ROWS >> (level + 1), 2, SIZE)), axis=1)
        return tl.reshape(values, (SIZE,))
    return tl.sum(values, axis=0)


@triton.jit
def root_of(value):
    """The square root, correctly rounded."""
    if value.dtype == tl.float32:
        return tl.sqrt_rn(value)
    return tl.sqrt(value)


@triton.jit
def over(numerator, denominator):
    """The quotient, correctly rounded."""
    if numerator.dtype == tl.float32:
        return tl.div_rn(numerator, denominator)
    return numerator / denominator


@triton.jit
def load(pointer, row, column, row_stride, column_stride, inside, ACC: tl.constexpr):
    """A tile; zero where nothing is."""
    # Columns may be more than 2^31 elements from the first one.
    at = row[:, None] * row_stride + column[None, :].to(tl.int64) * column_stride
    return tl.load(pointer + at, mask=inside, other=0.0).to(ACC)


@triton.jit
def summand(
    x, residual, row, column, x_row, x_column, residual_row, residual_column, inside,
    OUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What is normalised: x, or its sum with the residual, rounded as it is returned."""
    values = load(x, row, column, x_row, x_column, inside, ACC)
    if residual is not None:
        other = load(residual, row, column, residual_row, residual_column, inside, ACC)
        values = (values + other).to(OUT).to(ACC)
    return values


@triton.jit
def deviation(values, mean, inside, CENTRED: tl.constexpr):
    """X - mean x, or x where the op is not centred."""
    if CENTRED:
        # Padding is zero in x, not in x - mean.
        return tl.where(inside, values - mean[:, None], 0.0)
    return values


@triton.jit
def factor(weight, column, held, ONE_PLUS: tl.constexpr, ACC: tl.constexpr):
    """What a column is multiplied by: weight, or 1 + weight."""
    found = tl.load(weight + column, mask=held, other=0.0).to(ACC)
    if ONE_PLUS:
        found += 1.0
    return found


@triton.jit
def factor_or_one(
    weight, column, held, BLOCK: tl.constexpr, ONE_PLUS: tl.constexpr, ACC: tl.constexpr
):  # fmt: skip
    """Likewise, or 1 without weight."""
    found = tl.full((BLOCK,), 1.0, ACC)
    if weight is not None:
        found = factor(weight, column, held, ONE_PLUS, ACC)
    return found


@triton.jit
def root_over(square, count, eps, SUMMED: tl.constexpr):
    """1/sqrt(square/count + eps), or 1/max(sqrt(square), eps) of a sum of squares."""
    one = tl.full(square.shape, 1.0, square.dtype)
    floor = tl.full(square.shape, eps, square.dtype)
    if SUMMED:
        norm = tl.maximum(root_of(square), floor, propagate_nan=tl.PropagateNan.ALL)
        return over(one, norm)
    return over(one, root_of(over(square, count) + floor))


@triton.jit
def affine(
    normalised, weight, bias, column, held, OUT: tl.constexpr, CAST: tl.constexpr,
    ONE_PLUS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Times weight, plus bias; CAST rounds before, as Llama's norm does."""
    result = normalised
    if CAST:
        result = result.to(OUT).to(ACC)
    if weight is not None:
        result *= factor(weight, column, held, ONE_PLUS, ACC)[None, :]
    if bias is not None:
        result += tl.load(bias + column, mask=held, other=0.0).to(ACC)[None, :]
    return result


@triton.jit
def projection_over(products, root, count, eps, SUMMED: tl.constexpr):
    """What dx loses along x_hat: the mean of g x_hat; for L2 norm the sum, none at the floor."""
    if SUMMED:
        one = tl.full(root.shape, 1.0, root.dtype)
        at_most = over(one, tl.full(root.shape, eps, root.dtype))
        return tl.where(root < at_most, products, 0.0)
    return over(products, count)
