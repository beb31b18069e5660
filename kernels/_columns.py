"""The last step of what is summed over rows: add the programs' parts."""

from __future__ import annotations

import triton
import triton.language as tl

from normcheck.kernels._tiles import sum_rows, whole_vectors

__all__ = ["add_parts"]


@triton.jit(do_not_specialize=["count"])
def add_parts(
    parts, result, count, columns,
    PARTS: tl.constexpr, PART_LEVELS: tl.constexpr, BLOCK: tl.constexpr, VECTOR: tl.constexpr,
    STRICT: tl.constexpr,
):  # fmt: skip
    """Sum ``count`` rows of parts, padded with zeros to PARTS, and round once."""
    columns = whole_vectors(columns, VECTOR)
    part = tl.arange(0, PARTS)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = column < columns
    at = part.to(tl.int64)[:, None] * columns + column[None, :]
    inside = (part < count)[:, None] & held[None, :]
    values = tl.load(parts + at, mask=inside, other=0.0)
    total = sum_rows(values, PARTS, BLOCK, PART_LEVELS, STRICT)
    tl.store(result + column, total.to(result.dtype.element_ty), mask=held)
