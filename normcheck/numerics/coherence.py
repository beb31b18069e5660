"""Coherent errors of a target's outputs and input gradients, slice by slice: rules I1 and I2.

Where the output format is as wide as the accumulation format, scale and shift of a slice and what
is left of its errors are held to bounds of their own. Where it is narrower, a target is held to the
values that its rounding policy accepts: the fit then says what is wrong, and no more than the
elements do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import around
from normcheck.numerics.coherent_budget import (
    Expected,
    accumulation_of,
    expected_gradient,
    expected_output,
    reading_of,
)
from normcheck.numerics.comparison import Worst, unravelled
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.implied import LEAST_ELEMENTS, REST, Direction, Fit, fit
from normcheck.numerics.judge import PIECE_ELEMENTS
from normcheck.numerics.problem import Problem
from normcheck.numerics.ulp import ulp

__all__ = ["Coherent", "can_be_judged", "gradient_coherence", "output_coherence"]


@dataclass(frozen=True, slots=True)
class Coherent:
    """The slice of a tensor whose errors exceed, or come closest to, what is allowed.

    Attributes:
        kind: The direction, or `REST`.
        value: The coefficient, or the rest of one element.
        allowed: Its largest value of a correct target.
        explained: Share of the slice's squared error that the fit takes away.
        worst: The element that shows it most, with the ratio of the slice.
        violations: Elements of the slices above 1.
        judged: Elements of all slices that were judged.
    """

    kind: str
    value: float
    allowed: float
    explained: float
    worst: Worst
    violations: int
    judged: int

    def __add__(self, other: Coherent) -> Coherent:
        first = self if self.worst.ratio >= other.worst.ratio else other
        return Coherent(
            first.kind, first.value, first.allowed, first.explained, first.worst,
            self.violations + other.violations, self.judged + other.judged,
        )  # fmt: skip


def can_be_judged(problem: Problem) -> bool:
    """Return whether the rules say anything: slices of enough elements, no gate and no mask."""
    long = problem.reduction.count >= LEAST_ELEMENTS and 0 not in problem.reduction.view
    return long and problem.gate is None and problem.mask is None


def _pieces(problem: Problem, policy: str, stored: torch.dtype | None) -> Iterator[ExactPiece]:
    """Work out the pieces of a case."""
    if not can_be_judged(problem):
        return
    fmt = None if stored is None else FloatFormat.of(stored)
    rounded = reading_of(policy).rounds_sum
    for piece in problem.reduction.pieces(PIECE_ELEMENTS):
        yield ExactPiece.of(problem, piece, accumulation_of(problem), rounded=rounded, stored=fmt)


def output_coherence(
    problem: Problem, computed: Tensor, policy: str, stored: torch.dtype | None = None
) -> Coherent | None:
    """Return the worst slice of the outputs; None where no slice can be judged.

    Args:
        problem: Inputs and contract.
        computed: The view's shape: ``y`` as the target returned it.
        policy: The rounding policy that explains it, as `Comparisons` name it.
        stored: In which format a residual sum is returned, if it is.
    """
    fmt, found = FloatFormat.of(computed.dtype), None
    for exact in _pieces(problem, policy, stored):
        expected = expected_output(exact, fmt, policy)
        found = _added(found, _judged(exact, exact.piece.take(computed).double(), expected, fmt))
    return found


def gradient_coherence(
    problem: Problem,
    dy: Mapping[str, Tensor],
    computed: Tensor,
    policy: str,
    stored: torch.dtype | None = None,
) -> Coherent | None:
    """Return the worst slice of an input gradient; None where no slice can be judged.

    Args:
        problem: Inputs and contract.
        dy: Per output, the gradient that was fed back, the view's shape.
        computed: The view's shape: the gradient of ``x`` or of ``residual``.
        policy: The rounding policy that explains it, as `Comparisons` name it.
        stored: In which format a residual sum is returned, if it is.
    """
    fmt, found = FloatFormat.of(computed.dtype), None
    for exact in _pieces(problem, policy, stored):
        expected = expected_gradient(exact, dy, fmt, policy)
        found = _added(found, _judged(exact, exact.piece.take(computed).double(), expected, fmt))
    return found


def _added(first: Coherent | None, second: Coherent | None) -> Coherent | None:
    if first is None or second is None:
        return first or second
    return first + second


def _error(value: Tensor, expected: Expected) -> Tensor:
    """Return what was computed minus the exact result, or minus the middle of what is accepted."""
    if expected.accepted is not None:
        return value - (expected.accepted.lower + expected.accepted.upper) / 2
    exact = expected.exact
    return (value - exact.hi) - exact.lo if isinstance(exact, DoubleDouble) else value - exact


def _fitted(error: Tensor, expected: Expected, fmt: FloatFormat, over: tuple[int, ...]) -> Fit:
    delta, directions, accepted = expected.delta, expected.directions, expected.accepted
    if accepted is not None:
        # What is accepted allows for the statistics' errors too: no direction is granted any more.
        # The budget on top keeps the room above zero where a single value is accepted.
        room = (accepted.upper - accepted.lower) / 2 + delta
        bare = [replace(d, granted=torch.zeros_like(d.granted)) for d in directions]
        return fit(error, room, bare, over, judge_rest=False)
    coherent = sum((d.granted * d.basis.abs() for d in directions), torch.zeros_like(delta))
    size = expected.exact.abs().double() + delta
    room = (delta - coherent).clamp_min(0.0) + 0.5 * ulp(size, fmt)
    return fit(error, room, directions, over)


def _judged(
    exact: ExactPiece, value: Tensor, expected: Expected, fmt: FloatFormat
) -> Coherent | None:
    """Judge one piece."""
    over = exact.piece.reduction.over
    error = _error(value, expected)
    found = _fitted(error, expected, fmt, over)
    mask = expected.judged & found.judged
    slices = int(mask.sum())
    if not slices:
        return None
    ratios = [torch.where(mask, ratio, -1.0) for ratio in found.ratios()]
    peaks = [float(ratio.max()) for ratio in ratios]
    which = peaks.index(max(peaks))
    wrong = torch.stack([*ratios[:-1], ratios[-1].amax(over, keepdim=True)]).amax(0) > 1.0
    here = unravelled(int(ratios[which].argmax()), ratios[which].shape)
    at = tuple(0 if axis in over else i for axis, i in enumerate(here))
    if which == len(expected.directions):
        kind, given, room = REST, found.rest[here], found.rest_allowed[here]
    else:
        direction = expected.directions[which]
        kind, given, room = direction.name, found.coefficients[which][at], found.allowed[which][at]
        here = _telling(error, direction, given, room, at, over)
    n = exact.piece.reduction.count
    return Coherent(
        kind, float(given), float(room), float(found.explained[at]),
        _worst(exact, value, expected, here, peaks[which], fmt), int(wrong.sum()) * n, slices * n,
    )  # fmt: skip


def _telling(
    error: Tensor,
    direction: Direction,
    given: Tensor,
    room: Tensor,
    at: tuple[int, ...],
    over: tuple[int, ...],
) -> tuple[int, ...]:
    """Return the element of a slice that is farthest outside what the allowed coefficient does."""
    inside = tuple(slice(None) if axis in over else i for axis, i in enumerate(at))
    moved, off = direction.basis[inside], error[inside]
    beyond = off * torch.sign(given * moved) - room * moved.abs()
    place = iter(unravelled(int(beyond.argmax()), beyond.shape))
    return tuple(next(place) if axis in over else i for axis, i in enumerate(at))


def _worst(
    exact: ExactPiece,
    value: Tensor,
    expected: Expected,
    here: tuple[int, ...],
    ratio: float,
    fmt: FloatFormat,
) -> Worst:
    reference = expected.exact
    middle = reference.double() if isinstance(reference, DoubleDouble) else reference
    accepted = expected.accepted or around(reference, expected.delta, fmt)
    index = list(here)
    index[exact.piece.axis] += exact.piece.start
    computed, right = float(value[here]), float(middle[here])
    worst = Worst(
        ratio=ratio,
        index=tuple(index),
        computed=computed,
        reference=right,
        lower=float(accepted.lower[here]),
        upper=float(accepted.upper[here]),
        ulps=(computed - right) / float(ulp(middle[here], fmt)),
        condition=1.0,
    )
    return worst.within(exact.budget.slices, value.shape, here)
