"""Forward and backward of normalizations over rows: from tensors to launches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from normcheck.kernels._launch import accumulation, launch
from normcheck.kernels._plan import Plan, plan_parts, plan_rows, plan_sum

__all__ = ["backward", "empty_backward", "empty_forward", "forward"]

# A training step asks for the same again, and planning takes as long as a small kernel.
_planned_rows = lru_cache(4096)(plan_rows)
_planned_parts = lru_cache(4096)(plan_parts)
_planned_sum = lru_cache(4096)(plan_sum)
# Of an address, as much as tells what it is a multiple of: no more than 16 elements are loaded.
_WIDEST = 16


@dataclass(frozen=True, slots=True)
class _Rows:
    """A tensor as rows: its own memory where strides allow it, else a copy."""

    values: Tensor

    @classmethod
    def of(cls, tensor: Tensor, columns: int) -> _Rows:
        return cls(tensor.reshape(-1, columns))

    @property
    def strides(self) -> tuple[int, int]:
        """Of rows and of columns, in elements."""
        row, column = self.values.stride()
        return row, column

    @property
    def alignment(self) -> tuple[int, int]:
        """What has to be a multiple of a vector."""
        start = self.values.data_ptr() // self.values.element_size()
        return self.values.stride(0), start % _WIDEST


def _constants(kind: str, plan: Plan, dtype: torch.dtype, *, strict: bool) -> dict[str, object]:
    return {
        "BLOCK": plan.block, "VECTOR": plan.vector, "CENTRED": kind == "layer", "STRICT": strict,
        "ACC": accumulation(dtype),
    }  # fmt: skip


def _of_row(plan: Plan) -> dict[str, object]:
    """What a kernel for rows of its kind needs: those that fit, or those in chunks."""
    if plan.chunks == 1:
        return {"LEVELS": plan.levels, "ROWS": plan.rows}
    return {
        "LEVELS": plan.levels, "CHUNKS": plan.chunks, "SLOTS": plan.slots,
        "SLOT_LEVELS": plan.slot_levels,
    }  # fmt: skip


def forward(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    columns: int,
    kind: str,
    eps: float,
    one_plus: bool,
    cast: bool,
    strict: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from normcheck.kernels._long_rows import forward_long_rows
    from normcheck.kernels._rows import forward_rows

    y, total, means, roots = empty_forward(x, residual, weight, bias, columns, kind)
    if x.numel() == 0:
        return y, total, means, roots
    given = _Rows.of(x, columns)
    other = given if residual is None else _Rows.of(residual, columns)
    aligned = given.alignment + other.alignment
    rows = given.values.shape[0]
    plan = _planned_rows(rows, columns, x.element_size(), aligned, backward=False)
    constants = _constants(kind, plan, x.dtype, strict=strict) | _of_row(plan)
    constants |= {"SUMMED": kind == "l2", "ONE_PLUS": one_plus, "CAST": cast}
    tensors = (
        given.values, None if residual is None else other.values, _dense(weight), _dense(bias), y,
        total, means, roots,
    )  # fmt: skip
    sizes = (rows, columns) if plan.chunks == 1 else (columns,)
    arguments = (*tensors, *sizes, *given.strides, *other.strides, eps)
    kernel = forward_rows if plan.chunks == 1 else forward_long_rows
    launch(kernel, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    return y, total, means, roots


def _dense(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.contiguous()


def empty_forward(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    columns: int,
    kind: str,
    *_: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the outputs, not yet written: y, the sum, and per row the mean and 1/root."""
    rows = x.numel() // columns if columns else math.prod(x.shape[:-1])
    kept = accumulation(x.dtype)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    total = torch.empty_like(y) if residual is not None else x.new_empty(0)
    means = x.new_empty(rows if kind == "layer" else 0, dtype=kept)
    return y, total, means, x.new_empty(rows, dtype=kept)


def backward(
    dy: Tensor,
    dtotal: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    means: Tensor,
    roots: Tensor,
    columns: int,
    kind: str,
    eps: float,
    one_plus: bool,
    strict: bool,
    dweight: torch.dtype | None,
    dbias: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate; dweight and dbias name the dtypes of what is wanted."""
    from normcheck.kernels._long_rows import backward_long_rows
    from normcheck.kernels._rows import backward_rows

    dx, *sums = empty_backward(
        dy, dtotal, x, weight, means, roots, columns, kind, eps, one_plus, strict, dweight, dbias
    )
    if x.numel() == 0:
        return dx, sums[0].zero_(), sums[1].zero_()
    values, given = _Rows.of(x, columns), _Rows.of(dy, columns)
    added = given if dtotal is None else _Rows.of(dtotal, columns)
    aligned = values.alignment + given.alignment + added.alignment
    rows = values.values.shape[0]
    plan = _planned_rows(rows, columns, x.element_size(), aligned, backward=True)
    constants = _constants(kind, plan, x.dtype, strict=strict) | _of_row(plan)
    constants |= {"SUMMED": kind == "l2", "ONE_PLUS": one_plus}
    tensors = (given.values, None if dtotal is None else added.values, values.values,
               _dense(weight), means, roots, dx)  # fmt: skip
    strides = (*given.strides, *added.strides, *values.strides)
    arguments: tuple[object, ...]
    if plan.chunks > 1:
        arguments = (*tensors, columns, *strides, eps)
        launch(backward_long_rows, (rows,), arguments, plan.warps, constants, strict=strict)
        parts = _parts_of_long_rows(given, values, means, roots, kind, sums, strict=strict)
    else:
        parts = _parts(plan, values.values, sums)
        constants |= {"ROW_LEVELS": plan.row_levels}
        arguments = (*tensors, *parts, rows, columns, plan.tiles, *strides, eps)
        launch(backward_rows, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    for part, result in zip(parts, sums, strict=True):
        _add(part, result, strict=strict)
    return dx, sums[0], sums[1]


def _parts(plan: Plan, x: Tensor, sums: list[Tensor]) -> list[Tensor | None]:
    """Return room for the programs' parts of each sum that is wanted."""
    kept, shape = accumulation(x.dtype), (plan.programs, x.shape[1])
    return [x.new_empty(shape, dtype=kept) if each.numel() else None for each in sums]


def _parts_of_long_rows(
    given: _Rows,
    values: _Rows,
    means: Tensor,
    roots: Tensor,
    kind: str,
    sums: list[Tensor],
    *,
    strict: bool,
) -> list[Tensor | None]:
    from normcheck.kernels._long_rows import parts_of_long_rows

    x = values.values
    rows, columns = x.shape
    plan = _planned_parts(rows, columns, x.element_size(), values.alignment + given.alignment)
    parts = _parts(plan, x, sums)
    if any(part is not None for part in parts):
        constants = _constants(kind, plan, x.dtype, strict=strict)
        constants |= {"ROWS": plan.rows, "ROW_LEVELS": plan.row_levels}
        arguments = (given.values, x, means, roots, *parts, rows, columns, plan.tiles,
                     *given.strides, *values.strides)  # fmt: skip
        # A second axis takes 65,535 programs, and there are at most 256 parts.
        grid = (plan.chunks, plan.programs)
        launch(parts_of_long_rows, grid, arguments, plan.warps, constants, strict=strict)
    return parts


def _add(parts: Tensor | None, result: Tensor, *, strict: bool) -> None:
    """Add the programs' parts."""
    from normcheck.kernels._columns import add_parts

    if parts is None:
        return
    count, columns = parts.shape
    plan = _planned_sum(count, columns, parts.element_size())
    constants: dict[str, object] = {
        "PARTS": plan.rows, "PART_LEVELS": plan.row_levels, "BLOCK": plan.block,
        "VECTOR": plan.vector, "STRICT": strict,
    }  # fmt: skip
    arguments = (parts, result, count, columns)
    launch(add_parts, (plan.programs,), arguments, plan.warps, constants, strict=strict)


def empty_backward(
    dy: Tensor,
    dtotal: Tensor | None,
    x: Tensor,
    weight: Tensor | None,
    means: Tensor,
    roots: Tensor,
    columns: int,
    kind: str,
    eps: float,
    one_plus: bool,
    strict: bool,
    dweight: torch.dtype | None,
    dbias: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx, dweight and dbias, not yet written; what is not wanted is empty."""
    weights, biases = (
        x.new_empty(0 if dtype is None else columns, dtype=dtype or x.dtype)
        for dtype in (dweight, dbias)
    )
    return torch.empty_like(x, memory_format=torch.contiguous_format), weights, biases
