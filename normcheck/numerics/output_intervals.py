"""The accepted outputs of one piece under every rounding policy, behind a gate if there is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate import Gate
from normcheck.numerics.problem import Problem
from normcheck.numerics.reading import Reading
from normcheck.numerics.rounding_policy import FUSED, OUTPUT_POLICIES, Affine

__all__ = [
    "affine_of",
    "gate_ends",
    "interval_product",
    "output_intervals",
    "product_error",
    "ungated_intervals",
]

_FACTOR, _STEPS = "cast_factor", "cast_each_step"


def product_error(problem: Problem, u: float) -> float:
    """Return the relative error of a product with the weight in the accumulation format."""
    weight, fmt = problem.weight, problem.narrow
    if problem.formula.weight_offset:
        return 2 * u
    wide = weight is not None and FloatFormat.of(weight.dtype).precision > fmt.precision
    return u if wide else 0.0


def affine_of(exact: ExactPiece, output: FloatFormat | None, accumulation: FloatFormat) -> Affine:
    """Return weight and bias as the rounding policies take them."""
    weight, u = exact.weight, accumulation.unit_roundoff
    if weight is not None:
        weight = weight + exact.problem.formula.weight_offset
    narrow = exact.problem.narrow
    return Affine(weight, exact.bias, narrow, output, u, product_error(exact.problem, u))


def _policies(exact: ExactPiece) -> list[str]:
    """Return the policies that differ from ``fused`` for a half-precision input."""
    names = list(OUTPUT_POLICIES)
    if exact.weight is None or not exact.problem.formula.weight_offset:
        names.remove(_FACTOR)
    if exact.weight is None and exact.bias is None and exact.behind is None:
        # Nothing is rounded on the way: every policy is this one.
        names = []
    return names


def output_intervals(
    exact: ExactPiece, reading: Reading, fmt: FloatFormat, narrow: FloatFormat | None
) -> dict[str, Callable[[], Interval]]:
    """Return per policy how to work out the accepted outputs.

    Args:
        exact: The piece.
        reading: What is rounded before and after the norm.
        fmt: Format of the output.
        narrow: The accumulation format where the input's is narrower than it; None where no policy
            but ``fused`` can be told apart.
    """
    gate = exact.behind

    def fused() -> Interval:
        return around(exact.output, exact.budget.output, fmt)

    if narrow is None:
        return {FUSED: fused}
    accumulation = narrow
    if gate is None:

        def rounded(name: str) -> Callable[[], Interval]:
            affine = affine_of(exact, fmt, accumulation)
            return lambda: OUTPUT_POLICIES[name](exact.forward, exact.budget, affine)

        return {FUSED: fused} | {name: rounded(name) for name in _policies(exact)}

    def gated(name: str) -> Callable[[], Interval]:
        return lambda: interval_product(
            before[name](), gate_ends(gate, reading, narrow_format), accumulation
        ).rounded(fmt)

    narrow_format = exact.problem.narrow
    before = ungated_intervals(exact, reading, accumulation)
    found = {name: gated(name) for name in before}
    return found if reading.rounds_norm else found | {FUSED: fused}


def ungated_intervals(
    exact: ExactPiece, reading: Reading, accumulation: FloatFormat
) -> dict[str, Callable[[], Interval]]:
    """Return per policy how to work out what a gate multiplies: half-precision inputs only."""
    narrow = exact.problem.narrow
    affine = affine_of(exact, None, accumulation)

    def stored(value: Interval) -> Interval:
        return value.rounded(narrow) if reading.rounds_norm else value

    def fused() -> Interval:
        h = exact.forward.output
        return stored(Interval(h - exact.ungated, h + exact.ungated))

    def rounded(name: str) -> Callable[[], Interval]:
        return lambda: stored(OUTPUT_POLICIES[name](exact.forward, exact.budget, affine))

    # A gate has no bias before it, so the last step is the one that `rounds_norm` reads.
    names = [name for name in _policies(exact) if name != _STEPS]
    return {FUSED: fused} | {name: rounded(name) for name in names}


def gate_ends(gate: Gate, reading: Reading, narrow: FloatFormat) -> Interval:
    """Return the values that a gate may have under a reading."""
    if reading.rounds_gate:
        return around(gate.value, gate.value_error, narrow)
    return Interval(gate.value - gate.value_error, gate.value + gate.value_error)


def interval_product(first: Interval, second: Interval, accumulation: FloatFormat) -> Interval:
    """Multiply two intervals in the accumulation format, whose rounding widens the result."""
    corners = [a * b for a in (first.lower, first.upper) for b in (second.lower, second.upper)]
    lower, upper = corners[0], corners[0]
    for corner in corners[1:]:
        lower, upper = torch.minimum(lower, corner), torch.maximum(upper, corner)
    size: Tensor = torch.maximum(lower.abs(), upper.abs())
    slack = accumulation.unit_roundoff * size + accumulation.smallest_subnormal
    # Around an infinity there is no room.
    return Interval(lower, upper).widened(torch.where(size.isfinite(), slack, 0.0))
