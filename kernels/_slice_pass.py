"""One pass over all elements of group or batch norm: how tensors are cut, planned once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from normcheck.kernels._slice_plan import SlicePlan, Slices, plan_slices, slices

__all__ = ["SlicePass"]


# A training step asks for the same again.
@lru_cache(4096)
def _planned(
    shape: tuple[int, ...],
    strides: tuple[tuple[int, ...], ...],
    groups: int,
    size: int,
    starts: tuple[int, ...],
) -> tuple[Slices, SlicePlan, tuple[tuple[int, int, int, int], ...]]:
    """Cut the first of some tensors, and plan a pass over all."""
    cut = slices(shape, strides[0], groups)
    found = tuple(cut.strides(each) for each in strides)
    return cut, plan_slices(cut, size, found, starts), found


@dataclass(frozen=True, slots=True)
class SlicePass:
    """One pass over tensors that are cut alike; the first one's layout decides how."""

    cut: Slices
    plan: SlicePlan
    strides: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def over(cls, groups: int, *tensors: Tensor) -> SlicePass:
        size = tensors[0].element_size()
        # Of an address, as much as tells what it is a multiple of.
        starts = tuple(each.data_ptr() // size % 16 for each in tensors)
        strides = tuple(each.stride() for each in tensors)
        return cls(*_planned(tensors[0].shape, strides, groups, size, starts))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Slices, lines, elements of a line, tiles of a slice and of a line."""
        cut, plan = self.cut, self.plan
        return cut.rows, cut.lines, cut.along, plan.tiles, plan.across

    @property
    def constants(self) -> dict[str, object]:
        """What all kernels over elements are compiled for."""
        plan = self.plan
        return {
            "ROWS": plan.rows, "IN": plan.lines, "JN": plan.along, "VECTOR": plan.vector,
            "BY_ROWS": plan.by_rows, "WIDE": plan.wide,
        }  # fmt: skip
