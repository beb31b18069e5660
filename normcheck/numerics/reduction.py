"""One description of every normalization: what is reduced, centred or not, affine over what.

An op reshapes its input to a *view*, reduces over some axes of it, and lets weight and bias vary
over others. The elements that share one statistic form a *slice*: a row of layer_norm, a channel
of batch_norm, a group of group_norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from torch import Tensor

__all__ = ["EpsPlace", "Formula", "Piece", "Reduction"]


class EpsPlace(StrEnum):
    """Where epsilon enters the denominator D, with r = 1/D."""

    INSIDE = "inside"  # D = sqrt(v + eps)
    OUTSIDE = "outside"  # D = sqrt(v) + eps
    FLOOR = "floor"  # D = max(sqrt(v), eps)


@dataclass(frozen=True, slots=True)
class Reduction:
    """How one op reduces one shape.

    Attributes:
        view: Shape to which the input is reshaped; same elements, same order.
        over: Axes of the view that one statistic is taken over.
        affine: Shape of weight and bias in the view: 1 where they do not vary. Empty without.
        centred: Whether the mean is subtracted.
        summed: Whether v is the sum of squares (L2 norm) instead of their mean.
        valid: How many elements of each slice count where a mask leaves some out; None for all.
    """

    view: tuple[int, ...]
    over: tuple[int, ...]
    affine: tuple[int, ...]
    centred: bool
    summed: bool = False
    valid: int | None = None

    @property
    def count(self) -> int:
        """Elements n in one slice."""
        if self.valid is not None:
            return self.valid
        return math.prod(self.view[axis] for axis in self.over)

    @property
    def slices(self) -> tuple[int, ...]:
        """Shape of one statistic, the reduced axes kept as 1."""
        return tuple(1 if i in self.over else size for i, size in enumerate(self.view))

    @property
    def contributions(self) -> int:
        """Products M that one parameter gradient sums over."""
        if not self.affine:
            return 0
        if self.valid is not None:
            return self.valid * math.prod(self.slices) // max(1, math.prod(self.affine))
        return math.prod(self.view) // max(1, math.prod(self.affine))

    @property
    def summed_over(self) -> tuple[int, ...]:
        """Axes of the view that a parameter gradient is summed over."""
        return tuple(i for i, size in enumerate(self.affine) if size == 1)

    def pieces(self, limit: int) -> Iterator[Piece]:
        """Cut the view along one axis that is not reduced, at most ``limit`` elements each.

        A single slice is never cut, so a piece can be as large as one slice.
        """
        free = [i for i, size in enumerate(self.view) if i not in self.over and size > 1]
        total = math.prod(self.view)
        if not free or total <= limit:
            yield Piece(self, 0, 0, self.view[0] if self.view else 1)
            return
        axis = max(free, key=lambda i: self.view[i])
        step = max(1, limit * self.view[axis] // total)
        for start in range(0, self.view[axis], step):
            length = min(step, self.view[axis] - start)
            view = (*self.view[:axis], length, *self.view[axis + 1 :])
            affine = self.affine
            if affine and affine[axis] > 1:
                affine = (*affine[:axis], length, *affine[axis + 1 :])
            yield Piece(replace(self, view=view, affine=affine), axis, start, length)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some whole slices of a view: ``length`` indices from ``start`` along ``axis``."""

    reduction: Reduction
    axis: int
    start: int
    length: int

    def take(self, tensor: Tensor) -> Tensor:
        """Narrow a tensor of the view's rank, unless it is broadcast along the axis."""
        if tensor.dim() == 0 or tensor.shape[self.axis] <= self.length:
            return tensor
        return tensor.narrow(self.axis, self.start, self.length)


@dataclass(frozen=True, slots=True)
class Formula:
    """The function that is computed, beyond the reduction.

    Attributes:
        eps: The number added; as the caller passes it, in float64.
        eps_place: Where it is added.
        weight_offset: 1.0 where the op multiplies by ``1 + weight``, else 0.0.
        serial: Whether sums may be as deep as they are long (a declared policy).
        flushes: Whether numbers below the smallest normal one may be read and written as zero (a
            declared policy).
        freedom: Subtracted from the number of elements in the variance. Always 0 in a contract;
            a diagnosis tries 1.
        one_pass: Whether the budget grows like that of E[x^2] - E[x]^2. Always False in a
            contract; a diagnosis tries it.
    """

    eps: float
    eps_place: EpsPlace = EpsPlace.INSIDE
    weight_offset: float = 0.0
    serial: bool = False
    flushes: bool = False
    freedom: int = 0
    one_pass: bool = False

    def depth(self, count: int) -> int:
        """Longest chain of additions that the contract allows in a sum of ``count`` terms.

        ``blocked``: 32 lanes add serially and combine as a tree, ceil(n/32) + ceil(log2 min(n,
        32)), which any warp- or SIMD-parallel sum keeps.
        """
        if self.serial or count <= 1:
            return max(count, 1)
        return math.ceil(count / 32) + math.ceil(math.log2(min(count, 32)))
