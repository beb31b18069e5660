"""Bytes that the kernels move: the least that any could, and what ours move again by plan.

An element that many lanes of a program read with one instruction is counted once: the cache has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from normcheck.kernels._plan import Plan
from normcheck.kernels._slice_plan import SlicePlan, Slices, plan_sums

__all__ = ["Traffic", "of_channels", "of_channels_backward", "of_rows", "of_rows_backward"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one direction of one op.

    Attributes:
        floor: Each input read and each output written once.
        again: What is read or written besides, by what it is.
    """

    floor: int
    again: dict[str, int]

    @property
    def moved(self) -> int:
        """All bytes."""
        return self.floor + sum(self.again.values())


def of_rows(
    rows: int, columns: int, itemsize: int, parameters: Sequence[int], plan: Plan, *,
    centred: bool, residual: bool,
) -> Traffic:  # fmt: skip
    """Return what a norm over rows moves forward.

    Args:
        rows: At least 1.
        columns: At least 1.
        itemsize: Bytes of an element of x.
        parameters: Bytes of an element of weight and bias, of those that there are.
        plan: Its launch.
        centred: Whether means are kept beside roots.
        residual: Whether a residual is read, and the sum written.
    """
    size = rows * columns * itemsize
    given, statistics = 1 + residual, rows * _kept(itemsize) * (1 + centred)
    floor = 2 * given * size + sum(parameters) * columns + statistics
    passes = 1 if plan.chunks == 1 else 2 + centred
    again = {
        "x": (passes - 1) * given * size,
        "parameters": (plan.programs - 1) * sum(parameters) * columns,
    }
    return Traffic(floor, again)


def of_rows_backward(
    rows: int, columns: int, itemsize: int, weight: int, sums: tuple[int, int],
    plans: tuple[Plan, Plan], *, centred: bool, residual: bool,
) -> Traffic:  # fmt: skip
    """Return what a norm over rows moves backward.

    Args:
        rows: At least 1.
        columns: At least 1.
        itemsize: Bytes of an element of x.
        weight: Bytes of an element of weight; 0 without.
        sums: Bytes of an element of dweight and of dbias; 0 for what is not wanted.
        plans: Of dx, and of the sums of rows that no program holds.
        centred: Whether means were kept beside roots.
        residual: Whether there is a gradient of the sum.
    """
    size, kept = rows * columns * itemsize, _kept(itemsize)
    statistics = rows * kept * (1 + centred)
    floor = (3 + residual) * size + statistics + (weight + sum(sums)) * columns
    plan, parting = plans
    wanted = sum(map(bool, sums))
    parts = 2 * plan.programs * columns * kept * wanted
    again = {"weight": (plan.programs - 1) * weight * columns, "parts": parts}
    if plan.chunks > 1:
        again = {"x and dy": 2 * size, "weight": (2 * rows - 1) * weight * columns}
        again["parts"] = 2 * parting.programs * columns * kept * wanted
        again["x and dy"] += (bool(wanted) + bool(sums[0])) * size
        again["statistics"] = statistics * parting.chunks * bool(sums[0])
    return Traffic(floor, again)


def of_channels(
    cut: Slices, plan: SlicePlan, itemsize: int, parameters: Sequence[int], given: Sequence[int], *,
    variances: bool,
) -> Traffic:  # fmt: skip
    """Return what group or batch norm moves forward.

    Args:
        cut: The slices.
        plan: The launch over them.
        itemsize: Bytes of an element of x.
        parameters: Bytes of an element of weight and bias, of those that there are.
        given: Likewise of mean and variance, where they are not measured.
        variances: Whether variances are written.
    """
    size, kept = cut.rows * cut.lines * cut.along * itemsize, _kept(itemsize)
    channels = cut.per * cut.deep
    statistics = cut.rows * kept * 2
    floor = 2 * size + channels * sum(parameters) + statistics + cut.rows * kept * variances
    again = {"parameters": sum(parameters) * (_parameters(cut, plan) - channels)}
    if given:
        return Traffic(floor + channels * sum(given), again | {"known": statistics * plan.tiles})
    if plan.tiles > 1:
        again |= {
            "x": size, "tiles": 5 * cut.rows * plan.tiles * kept, "known": statistics * plan.tiles,
        }  # fmt: skip
    return Traffic(floor, again)


def of_channels_backward(
    cut: Slices, plan: SlicePlan, terms: tuple[Slices, SlicePlan], itemsize: int, weight: int,
    sums: Sequence[int], *, fixed: bool,
) -> Traffic:  # fmt: skip
    """Return what group or batch norm moves backward.

    Args:
        cut: The slices.
        plan: The launch of dx.
        terms: The slices and the launch of the sums over channels.
        itemsize: Bytes of an element of x.
        weight: Bytes of an element of weight; 0 without.
        sums: Bytes of an element of dweight and dbias, of those that are wanted.
        fixed: Whether statistics were given: then dx needs no x, and the sums may go.
    """
    size, kept = cut.rows * cut.lines * cut.along * itemsize, _kept(itemsize)
    channels, (fine, summed) = cut.per * cut.deep, terms
    # Where statistics were given, dx needs neither x nor mean.
    alone = fixed and not sums
    floor = (2 if alone else 3) * size + cut.rows * kept * (1 if alone else 2)
    floor += channels * (weight + sum(sums))
    again = {
        "weight": weight * (_parameters(cut, plan) - channels),
        "statistics": cut.rows * kept * (plan.tiles * (1 if fixed else 2) - (1 if alone else 2)),
    }
    if alone:
        return Traffic(floor, again)
    count = fine.rows * summed.tiles
    shared = _distinct(fine.rows, summed.rows, fine.rows // cut.rows) * summed.tiles
    again["statistics"] += 2 * kept * shared
    again["terms"] = kept * count * (2 + len(sums))
    if fixed:
        return Traffic(floor, again | {"dy": size})
    slots = count // cut.rows
    blocks = plan_sums(cut.rows, slots)
    together = _slices(cut.rows, blocks.rows, cut.per)
    loads = together * _distinct(slots, blocks.slots, summed.tiles)
    again["x and dy"] = 2 * size
    again["terms"] += 2 * kept * (count + cut.rows * (1 + plan.tiles))
    again["weight"] += weight * loads
    return Traffic(floor, again)


def _kept(itemsize: int) -> int:
    return 8 if itemsize == 8 else 4


def _parameters(cut: Slices, plan: SlicePlan) -> int:
    """Return how many elements of weight a pass reads."""
    times = (plan.tiles, plan.across, plan.tiles // plan.across)[cut.channels]
    return _slices(cut.rows, plan.rows, cut.per) * cut.deep * times


def _slices(rows: int, together: int, per: int) -> int:
    """Return how many slices have other channels than those beside them in their programs."""
    whole, rest = divmod(rows, together)
    return whole * min(together, per) + min(rest, per)


def _distinct(count: int, block: int, share: int) -> int:
    """Return how many values index // share takes in blocks of indices, block by block."""
    starts = range(0, count, block)
    return sum((min(at + block, count) - 1) // share - at // share + 1 for at in starts)
