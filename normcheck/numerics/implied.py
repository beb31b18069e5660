"""What a slice's errors amount to together: a common scale, a common shift, and a rest.

A wrong row statistic moves every element of a slice along one known direction: an error of the
reciprocal root along ``normalised * weight``, one of the mean along ``weight``. A weighted least
squares fit reads the coefficient of each direction off the errors; what a correct target can reach
is bounded by the statistic's own budget and by the elementwise roundings, each with the sign that
hurts most. No probability enters. Rounding errors of a short format are no independent random
numbers: where the reciprocal root of a row lies next to a power of two, all of them agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import RATIO_CAP

__all__ = ["LEAST_ELEMENTS", "REST", "Direction", "Fit", "fit"]

# A slice of a few elements is a combination of the directions, whatever its errors are.
LEAST_ELEMENTS = 16
# Directions closer than this (smallest eigenvalue of their correlations) cannot be told apart.
INDEPENDENT = 1e-8
# Elements whose room is this much smaller than the slice's largest are weighted as if it were not.
WEIGHT_RANGE = 2.0**-20
# What the fit's own float64 arithmetic may lose below the normal numbers: 16 of the smallest ones.
LOST = 2.0**-1070
REST = "rest"


@dataclass(frozen=True, slots=True)
class Direction:
    """One way in which all elements of a slice can be off together.

    Attributes:
        name: What is off.
        basis: The view's shape, float64: how one unit of it moves each element.
        granted: Slice shape, float64: the coefficient that the statistics' budget allows.
    """

    name: str
    basis: Tensor
    granted: Tensor


@dataclass(frozen=True, slots=True)
class Fit:
    """The fit of one piece.

    Attributes:
        coefficients: Per direction, slice shape, float64.
        allowed: Per direction, slice shape, float64: the largest coefficient of a correct target.
        rest: The view's shape, float64: the errors without the fitted part.
        rest_allowed: The view's shape, float64; infinite where the rest says nothing.
        explained: Slice shape, float64: the share of the squared error that the fit takes away.
        judged: Slice shape, bool: where the directions can be told apart.
    """

    coefficients: tuple[Tensor, ...]
    allowed: tuple[Tensor, ...]
    rest: Tensor
    rest_allowed: Tensor
    explained: Tensor
    judged: Tensor

    def ratios(self) -> list[Tensor]:
        """Return deviation over allowance, -1 where not judged: per direction, then of the rest."""
        pairs = [*zip(self.coefficients, self.allowed, strict=True), (self.rest, self.rest_allowed)]
        return [
            torch.where(self.judged, (value.abs() / room).clamp_max(RATIO_CAP), -1.0)
            for value, room in pairs
        ]


def fit(
    error: Tensor,
    room: Tensor,
    directions: Sequence[Direction],
    over: tuple[int, ...],
    *,
    judge_rest: bool = True,
) -> Fit:
    """Fit the directions to the errors of a piece.

    With A the weighted pseudo-inverse, coefficient j of an error ``sum_k s_k basis_k + e`` is
    ``s_j + (A e)_j``: directions do not leak into one another. Of a correct target |s_j| is at
    most what its statistic is granted, and |e| at most ``room``, so that |coefficient j| is at most
    ``granted_j + sum_i |A_ji| room_i``. By the same argument the rest is at most ``room`` plus
    ``|basis_j| sum_i |A_ji| room_i`` over all j. Any weights are right; those by the inverse square
    of the room are nearly the most telling ones.

    Args:
        error: The view's shape, float64: what was computed minus what is exact.
        room: Same shape, float64, above 0: the largest elementwise error of a correct target.
        directions: At least one.
        over: Axes of one slice.
        judge_rest: Whether the rest is bounded as well.
    """
    room = room + LOST
    scale = torch.maximum(room, WEIGHT_RANGE * room.amax(over, keepdim=True))
    basis = _Basis.of([direction.basis / scale for direction in directions], over)
    usable = basis.usable & _all(error.isfinite(), over)
    error = torch.where(usable, error, 0.0)
    scaled = error / scale
    projected = [(unit * scaled).sum(over, keepdim=True) for unit in basis.units]
    coefficients, allowed = [], []
    rest, rest_allowed = error, room
    explained = torch.zeros_like(projected[0])
    for j, direction in enumerate(directions):
        value = basis.solved(j, projected)
        # Where the weights were capped, scale is above room: the bound is a little wider for it.
        spread = basis.weights(j).abs().sum(over, keepdim=True)
        coefficients.append(value)
        allowed.append(direction.granted + spread)
        explained = explained + value * basis.lengths[j] * projected[j]
        if judge_rest:
            rest = rest - value * direction.basis
            rest_allowed = rest_allowed + direction.basis.abs() * spread
    if not judge_rest:
        rest_allowed = torch.full_like(room, torch.inf)
    total = scaled.square().sum(over, keepdim=True)
    explained = torch.where(total > 0, explained / total, 0.0)
    return Fit(tuple(coefficients), tuple(allowed), rest, rest_allowed, explained, usable)


def _all(mask: Tensor, over: tuple[int, ...]) -> Tensor:
    for axis in over:
        mask = mask.all(axis, keepdim=True)
    return mask


@dataclass(frozen=True, slots=True)
class _Basis:
    """Directions of length 1, and the inverse of their correlations.

    Attributes:
        units: The view's shape each.
        lengths: Slice shape each: what they were divided by.
        inverse: Slice shape with a square matrix behind it.
        usable: Slice shape, bool: where the directions can be told apart.
    """

    units: tuple[Tensor, ...]
    lengths: tuple[Tensor, ...]
    inverse: Tensor
    usable: Tensor

    @classmethod
    def of(cls, vectors: Sequence[Tensor], over: tuple[int, ...]) -> _Basis:
        lengths = [(vector * vector).sum(over, keepdim=True).sqrt() for vector in vectors]
        usable = torch.stack([length.isfinite() & (length > 0) for length in lengths]).all(0)
        lengths = [torch.where(usable, length, 1.0) for length in lengths]
        units = [vector / length for vector, length in zip(vectors, lengths, strict=True)]
        rows = [[(a * b).sum(over, keepdim=True) for b in units] for a in units]
        gram = torch.stack([torch.stack(row, -1) for row in rows], -2)
        identity = torch.eye(len(units), dtype=gram.dtype)
        gram = torch.where(usable[..., None, None], gram, identity)
        apart = torch.linalg.eigvalsh(gram)[..., 0] > INDEPENDENT
        gram = torch.where(apart[..., None, None], gram, identity)
        return cls(tuple(units), tuple(lengths), torch.linalg.inv(gram), usable & apart)

    def solved(self, j: int, projected: Sequence[Tensor]) -> Tensor:
        """Return coefficient j from the inner products with the units, slice shape."""
        total = torch.zeros_like(projected[0])
        for k, product in enumerate(projected):
            total = total + self.inverse[..., j, k] * product
        return torch.where(self.usable, total / self.lengths[j], 0.0)

    def weights(self, j: int) -> Tensor:
        """Return row j of the pseudo-inverse of the scaled directions, the view's shape."""
        total = torch.zeros_like(self.units[0])
        for k, unit in enumerate(self.units):
            total = total + (self.inverse[..., j, k] / self.lengths[j]) * unit
        return total
