"""The budgets of rules F and B1, taken apart: what a wrong statistic does, and what an element may.

Rules I1 (outputs) and I2 (input gradients) of docs/budgets.md. Each coherent term of a budget is
the error of one statistic times a direction in which it moves a whole slice; what remains of the
budget is what every element may be off by on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval
from normcheck.numerics.budget import backward_budget
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece, all_over
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.implied import Direction
from normcheck.numerics.input_gradients import Entering, input_gradients
from normcheck.numerics.output_intervals import output_intervals
from normcheck.numerics.problem import Problem
from normcheck.numerics.reading import Reading
from normcheck.numerics.reduction import EpsPlace
from normcheck.numerics.reference import Gradients
from normcheck.numerics.rounding_choice import ROUNDED_SUM
from normcheck.numerics.rounding_policy import FUSED

__all__ = ["Expected", "accumulation_of", "expected_gradient", "expected_output", "reading_of"]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tensor should be, and how it may be off.

    Attributes:
        exact: The view's shape.
        delta: The view's shape: the whole budget before rounding.
        directions: What the statistics are granted, as directions.
        accepted: The values that the rounding policy accepts; None where nothing is rounded to less
            than the accumulation format and the elements' own errors are bounded instead.
        judged: Slice shape, bool.
    """

    exact: Tensor | DoubleDouble
    delta: Tensor
    directions: tuple[Direction, ...]
    accepted: Interval | None
    judged: Tensor


def accumulation_of(problem: Problem) -> FloatFormat:
    """Return the format whose roundoff the contract grants."""
    return problem.arithmetic or FloatFormat.of(problem.x.dtype).accumulation


def reading_of(policy: str) -> Reading:
    """Return how a residual sum is read under a policy, as `Comparisons` name it."""
    return Reading(ROUNDED_SUM, rounds_sum=True) if policy.startswith(ROUNDED_SUM) else Reading()


def _slices(mask: Tensor, exact: ExactPiece) -> Tensor:
    """Bring a mask to the shape of a slice: all of its elements."""
    over = exact.piece.reduction.over
    return all_over(mask, tuple(axis for axis in over if mask.shape[axis] > 1))


def _is_narrow(problem: Problem) -> bool:
    """Whether a policy can round on the way, to something narrower than sums are kept in."""
    return problem.narrow.precision < accumulation_of(problem).precision


def _rounds_more(fmt: FloatFormat, accumulation: FloatFormat, policy: str) -> bool:
    """Whether a tensor is rounded to less than sums are kept in, at the end or on the way."""
    return fmt.precision < accumulation.precision or not policy.endswith(FUSED)


def expected_output(exact: ExactPiece, fmt: FloatFormat, policy: str) -> Expected:
    """Return rule I1: along x^ weight by the error of the root, along weight by that of the mean.

    Args:
        exact: The piece.
        fmt: Format of the output.
        policy: The rounding policy that explains it, its reading before its name.
    """
    forward, budget, problem = exact.forward, exact.budget, exact.problem
    factor = torch.ones((), dtype=torch.float64)
    if exact.weight is not None:
        factor = exact.weight + problem.formula.weight_offset
    factor = factor.expand(forward.normalised.shape)
    directions = [Direction("scale", forward.normalised * factor, budget.root / forward.root)]
    if exact.piece.reduction.centred:
        granted = (forward.root + budget.root) * budget.mean
        directions.append(Direction("shift", factor, granted))
    accepted, accumulation = None, accumulation_of(problem)
    if _rounds_more(fmt, accumulation, policy):
        reading, arithmetic = reading_of(policy), accumulation if _is_narrow(problem) else None
        offered = output_intervals(exact, reading, fmt, arithmetic)
        accepted = offered[policy.removeprefix(reading.prefix)]()
    judged = _slices(exact.clean & budget.power & budget.in_range, exact)
    return Expected(exact.output, budget.output, tuple(directions), accepted, judged)


def expected_gradient(
    exact: ExactPiece, dy: Mapping[str, Tensor], fmt: FloatFormat, policy: str
) -> Expected:
    """Return rule I2: along dx by the root's error, and along 1 and x^ by those of the two means.

    Args:
        exact: The piece.
        dy: Per output, the gradient that was fed back, the shape of the whole view.
        fmt: Format of the gradient.
        policy: The rounding policy that explains it, its reading before its name.
    """
    problem, piece, accumulation = exact.problem, exact.piece, accumulation_of(exact.problem)
    fed = piece.take(dy["y"]).double()
    gradients, wide = exact.gradients(fed)
    budget = backward_budget(
        exact.forward, gradients, exact.budget, fed, piece.reduction, problem.formula, accumulation
    )
    value: Tensor | DoubleDouble = gradients.x if wide is None else wide.x
    delta, extra = budget.x, None
    if "residual_out" in dy:
        extra = piece.take(dy["residual_out"]).double()
        partial = extra.abs() + exact.forward.root * budget.terms
        value, delta = value + extra, delta + 3 * accumulation.unit_roundoff * partial
    accepted = None
    if _rounds_more(fmt, accumulation, policy):
        reading = reading_of(policy)
        entering = Entering.of(exact, fed, reading, accumulation)
        offered = input_gradients(
            exact, gradients, wide, entering, reading, {"x": fmt}, extra,
            narrow=_is_narrow(problem), excluded=lambda _, other: other != policy,
            accumulation=accumulation,
        )  # fmt: skip
        accepted = next(found[3] for found in offered if found[1] == policy)
    judged = _slices(exact.clean & exact.budget.power & budget.in_range, exact)
    return Expected(value, delta, _gradient_directions(exact, gradients), accepted, judged)


def _gradient_directions(exact: ExactPiece, gradients: Gradients[Tensor]) -> tuple[Direction, ...]:
    """Take the coherent terms of rule B1 apart, in the notation of `backward_budget`."""
    forward, budget, reduction = exact.forward, exact.budget, exact.piece.reduction
    relative = budget.root / forward.root
    directions = [Direction("scale", gradients.x, relative)]
    if forward.fixed:
        return tuple(directions)
    formula, u = exact.problem.formula, accumulation_of(exact.problem).unit_roundoff
    k, root, stretch = formula.depth(reduction.count), forward.root + budget.root, forward.stretch
    g, x_hat = gradients.scaled.abs(), forward.normalised.abs()
    projected = gradients.mean_projected.abs()

    def average(value: Tensor) -> Tensor:
        total = value.sum(reduction.over, keepdim=True)
        return total if reduction.summed else total / reduction.count

    e_projected = (k + 3) * u * average(g * x_hat) + average(g * budget.normalised)
    granted = e_projected + relative * (projected + e_projected)
    if formula.eps_place is EpsPlace.OUTSIDE:
        granted = granted + 2 * relative * projected
    directions.append(Direction("projection", forward.normalised, root * stretch * granted))
    if reduction.centred:
        e_mean = (k + 2) * u * average(g)
        shift = e_mean + stretch * root * budget.mean * (projected + e_projected)
        directions.append(Direction("mean", torch.ones_like(g), root * shift))
    return tuple(directions)
