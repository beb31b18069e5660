"""Forward and backward of group and batch norm: from tensors to launches."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from normcheck.kernels._launch import accumulation, launch
from normcheck.kernels._slice_pass import SlicePass
from normcheck.kernels._slice_plan import Blocks, plan_sums

__all__ = ["backward", "empty_backward", "empty_forward", "forward", "sample_view"]


def sample_view(x: Tensor) -> Tensor:
    """Return (samples, channels, positions): x's own memory where its strides allow it."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


# A training step asks for the same again.
_planned_sums = lru_cache(4096)(plan_sums)


def empty_forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    groups: int,
    *_: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the outputs, not yet written: y, and per slice mean, 1/root and variance.

    y is laid out as x is. Variances are of n - 1 degrees of freedom, and of batches only.
    """
    count = x.shape[1] if groups == 0 else x.shape[0] * groups
    kept = accumulation(x.dtype)
    y = torch.empty_like(sample_view(x)).view(x.shape)
    variances = count if groups == 0 and mean is None else 0
    return (
        y, x.new_empty(count, dtype=kept), x.new_empty(count, dtype=kept),
        x.new_empty(variances, dtype=kept),
    )  # fmt: skip


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    groups: int,
    eps: float,
    one_plus: bool,
    cast: bool,
    strict: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from normcheck.kernels._slices import normalise_slices, whole_slices

    y, means, roots, variances = empty_forward(x, weight, bias, mean, variance, groups)
    if mean is not None and variance is not None:
        _give(mean, variance, means, roots, eps, strict=strict)
    if x.numel() == 0:
        return y, means, roots, variances
    values, result = sample_view(x), sample_view(y)
    over = SlicePass.over(groups, values, result)
    cut, plan = over.cut, over.plan
    constants = over.constants | {
        "CHANNELS": cut.channels, "ONE_PLUS": one_plus, "CAST": cast, "ACC": accumulation(x.dtype),
    }  # fmt: skip
    parameters = [None if each is None else each.contiguous() for each in (weight, bias)]
    strides = (*over.strides[0], *over.strides[1])
    kept = variances if variances.numel() else None
    if mean is None and plan.tiles == 1:
        constants |= {"LEVELS": plan.levels, "STRICT": strict}
        arguments: tuple[object, ...] = (
            values, *parameters, result, means, roots, kept, cut.rows, cut.lines, cut.along,
            cut.per, cut.deep, *strides, eps,
        )  # fmt: skip
        launch(whole_slices, (plan.programs,), arguments, plan.warps, constants, strict=strict)
        return y, means, roots, variances
    if mean is None:
        _measure(over, values, (means, roots, kept), eps, strict=strict)
    arguments = (values, *parameters, result, means, roots, *over.sizes, cut.per, cut.deep,
                 *strides)  # fmt: skip
    launch(normalise_slices, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    return y, means, roots, variances


def _give(
    mean: Tensor, variance: Tensor, means: Tensor, roots: Tensor, eps: float, *, strict: bool
) -> None:
    """Normalise by statistics that are given."""
    from normcheck.kernels._slices import given_statistics

    channels = means.numel()
    if channels == 0:
        return
    constants: dict[str, object] = {"BLOCK": 512, "ACC": means.dtype}
    arguments = (mean.contiguous(), variance.contiguous(), means, roots, channels, eps)
    grid = (-(-channels // 512),)
    launch(given_statistics, grid, arguments, 4, constants, strict=strict)


def _measure(
    over: SlicePass,
    values: Tensor,
    results: tuple[Tensor, Tensor, Tensor | None],
    eps: float,
    *,
    strict: bool,
) -> None:
    """Take mean, 1/root and variance of slices that no program holds."""
    from normcheck.kernels._slices import combine_statistics, slice_statistics

    cut, plan, kept = over.cut, over.plan, results[0].dtype
    sums, squares = values.new_empty((2, cut.rows, plan.tiles), dtype=kept).unbind()
    constants = over.constants | {"LEVELS": plan.levels, "STRICT": strict, "ACC": kept}
    arguments: tuple[object, ...] = (values, sums, squares, *over.sizes, cut.per, *over.strides[0])
    launch(slice_statistics, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    blocks = _planned_sums(cut.rows, plan.tiles)
    constants = _of_blocks(blocks) | {
        "IN": plan.lines, "JN": plan.along, "STRICT": strict, "ACC": kept,
    }  # fmt: skip
    arguments = (sums, squares, *results, cut.rows, cut.lines * cut.along, cut.lines, cut.along,
                 plan.tiles, plan.across, blocks.blocks, eps)  # fmt: skip
    launch(combine_statistics, (blocks.programs,), arguments, 4, constants, strict=strict)


def empty_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    means: Tensor,
    roots: Tensor,
    groups: int,
    one_plus: bool,
    fixed: bool,
    strict: bool,
    dweight: torch.dtype | None,
    dbias: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx, dweight and dbias, not yet written; what is not wanted is empty."""
    weights, biases = (
        x.new_empty(0 if dtype is None else x.shape[1], dtype=dtype or x.dtype)
        for dtype in (dweight, dbias)
    )
    return torch.empty_like(sample_view(x)).view(x.shape), weights, biases


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    means: Tensor,
    roots: Tensor,
    groups: int,
    one_plus: bool,
    fixed: bool,
    strict: bool,
    dweight: torch.dtype | None,
    dbias: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate; dweight and dbias name the dtypes of what is wanted.

    With ``fixed`` the statistics were given.
    """
    from normcheck.kernels._slice_gradients import differentiate_slices

    dx, *sums = empty_backward(
        dy, x, weight, means, roots, groups, one_plus, fixed, strict, dweight, dbias
    )
    if x.numel() == 0:
        return dx, sums[0].zero_(), sums[1].zero_()
    given, values, result = sample_view(dy), sample_view(x), sample_view(dx)
    factor = None if weight is None else weight.contiguous()
    shifts = projections = None
    if not fixed or any(each.numel() for each in sums):
        terms = _terms(given, values, means, roots, groups, strict=strict)
        if not fixed:
            shifts, projections = _combine(
                terms, factor, means, values, groups, one_plus, strict=strict
            )
        for term, total in zip(reversed(terms), sums, strict=True):
            _sum_channels(term, total, strict=strict)
    over = SlicePass.over(groups, values, given, result)
    cut, plan = over.cut, over.plan
    constants = over.constants | {
        "CHANNELS": cut.channels, "ONE_PLUS": one_plus, "ACC": means.dtype,
    }  # fmt: skip
    strides = (*over.strides[1], *over.strides[0], *over.strides[2])
    arguments = (given, values, factor, means, roots, shifts, projections, result, *over.sizes,
                 cut.per, cut.deep, *strides)  # fmt: skip
    launch(differentiate_slices, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    return dx, sums[0], sums[1]


def _terms(
    given: Tensor, values: Tensor, means: Tensor, roots: Tensor, groups: int, *, strict: bool
) -> tuple[Tensor, Tensor]:
    """Return (samples or 1, channels, tiles): sums of dy and of dy x_hat."""
    from normcheck.kernels._slice_gradients import slice_terms

    channels = values.shape[1]
    over = SlicePass.over(channels if groups else 0, values, given)
    cut, plan = over.cut, over.plan
    shape = (2, cut.rows // channels, channels, plan.tiles)
    terms = values.new_empty(shape, dtype=means.dtype).unbind()
    constants = over.constants | {"LEVELS": plan.levels, "STRICT": strict, "ACC": means.dtype}
    deep = channels // groups if groups else 1
    arguments = (given, values, means, roots, *terms, *over.sizes, cut.per, deep,
                 *over.strides[1], *over.strides[0])  # fmt: skip
    launch(slice_terms, (plan.programs,), arguments, plan.warps, constants, strict=strict)
    return terms[0], terms[1]


def _combine(
    terms: tuple[Tensor, Tensor],
    weight: Tensor | None,
    means: Tensor,
    values: Tensor,
    groups: int,
    one_plus: bool,
    *,
    strict: bool,
) -> tuple[Tensor, Tensor]:
    """Return per slice the mean of g and of g x_hat."""
    from normcheck.kernels._slice_gradients import combine_terms

    rows, channels, tiles = means.numel(), values.shape[1], terms[0].shape[2]
    deep = channels // groups if groups else 1
    found = torch.empty_like(means), torch.empty_like(means)
    blocks = _planned_sums(rows, deep * tiles)
    constants = _of_blocks(blocks) | {"ONE_PLUS": one_plus, "STRICT": strict, "ACC": means.dtype}
    arguments = (*terms, weight, *found, rows, values.numel() // rows, deep * tiles, tiles,
                 channels // deep, deep, blocks.blocks)  # fmt: skip
    launch(combine_terms, (blocks.programs,), arguments, 4, constants, strict=strict)
    return found


def _sum_channels(terms: Tensor, result: Tensor, *, strict: bool) -> None:
    from normcheck.kernels._slice_gradients import channel_sums

    if result.numel() == 0:
        return
    samples, channels, tiles = terms.shape
    blocks = _planned_sums(channels, samples * tiles, adjacent=tiles == 1)
    constants = _of_blocks(blocks) | {"STRICT": strict, "ACC": terms.dtype}
    arguments = (terms, result, channels, samples * tiles, tiles, blocks.blocks)
    launch(channel_sums, (blocks.programs,), arguments, 4, constants, strict=strict)


def _of_blocks(blocks: Blocks) -> dict[str, object]:
    """What all kernels over sums are compiled for."""
    return {
        "ROWS": blocks.rows, "SLOTS": blocks.slots, "SLOT_LEVELS": blocks.levels,
    }  # fmt: skip
