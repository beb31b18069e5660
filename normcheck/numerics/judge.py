"""The judge: everything that a target returned, compared with the exact result.

One pass over pieces of whole slices, so that memory stays bounded whatever the case. Per tensor
the answer is a comparison for each rounding policy; who may choose among them is decided where
many cases are seen together.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around
from normcheck.numerics.comparison import Comparison, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate_gradients import gate_gradients
from normcheck.numerics.input_gradients import Entering, input_gradients
from normcheck.numerics.output_intervals import output_intervals
from normcheck.numerics.parameter_sums import ParameterSums
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reading import Reading, open_readings
from normcheck.numerics.reduction import Piece
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.numerics.rounding_policy import FUSED
from normcheck.numerics.running import SliceStatistics

__all__ = ["PIECE_ELEMENTS", "Comparisons", "judge"]

# Elements per piece: temporaries of 1 MiB each stay in a core's second-level cache.
PIECE_ELEMENTS = 1 << 17

Comparisons = dict[str, dict[str, Comparison]]
"""Per tensor (``y``, ``grad_x``, ``running_var``, ...) and rounding policy, its comparison."""


class _Judge:
    """State of one pass."""

    def __init__(self, problem: Problem, observed: Observed, choice: RoundingChoice) -> None:
        self.problem, self.observed, self.choice = problem, observed, choice
        self.input = FloatFormat.of(problem.x.dtype)
        self.accumulation = problem.arithmetic or self.input.accumulation
        # Whether a policy can round on the way, to something narrower than sums are kept in.
        self.narrow = problem.narrow.precision < self.accumulation.precision
        self.found: Comparisons = {}
        self.sums = ParameterSums(problem, self.accumulation)
        self.statistics = SliceStatistics(problem, self.accumulation)

    def add(self, tensor: str, policy: str, comparison: Comparison) -> None:
        policies = self.found.setdefault(tensor, {})
        policies[policy] = policies.get(policy, Comparison()) + comparison

    def piece(self, piece: Piece) -> None:
        self._residual_out(piece)
        readings = open_readings(self.problem, self.choice, narrow=self.narrow)
        for reading in readings:
            exact = ExactPiece.of(
                self.problem, piece, self.accumulation,
                rounded=reading.rounds_input(self.problem), stored=self._stored(),
            )  # fmt: skip
            self._outputs(exact, reading)
            if reading == readings[0]:
                self.statistics.add(piece, exact.wide or exact.forward, exact.budget)
            if self.observed.dy:
                self._gradients(exact, reading)

    def _stored(self) -> FloatFormat | None:
        """The format in which a residual sum is returned: that of a wider residual, maybe."""
        computed = self.observed.outputs.get("residual_out")
        return None if computed is None else FloatFormat.of(computed.dtype)

    def _residual_out(self, piece: Piece) -> None:
        """The returned sum has no budget: it is one addition."""
        residual, computed = self.problem.residual, self.observed.outputs.get("residual_out")
        if residual is None or computed is None:
            return
        x, other = piece.take(self.problem.x).double(), piece.take(residual).double()
        total: Tensor | DoubleDouble = x + other
        if self.input.dtype == torch.float64:
            total = DoubleDouble.of(x) + other
        fmt = FloatFormat.of(computed.dtype)
        accepted = around(total, torch.zeros_like(x), fmt)
        finite = x.isfinite() & other.isfinite()
        value = piece.take(computed).double()
        self.add("residual_out", FUSED, compare(value, total, accepted, finite, fmt, piece=piece))

    def _outputs(self, exact: ExactPiece, reading: Reading) -> None:
        computed = self.observed.outputs.get("y")
        if computed is None:
            return
        fmt, budget = FloatFormat.of(computed.dtype), exact.budget
        value = exact.piece.take(computed).double()
        judged = exact.clean & ((budget.power & budget.in_range) | self.problem.everywhere)
        if exact.mask is not None:
            judged = judged & exact.mask
        laundered = Comparison(laundered=exact.laundered(value))
        arithmetic = self.accumulation if self.narrow else None
        offered = output_intervals(exact, reading, fmt, arithmetic)
        declared = [n for n in offered if self.problem.rounding in (None, n)] or [FUSED]
        tried = [n for n in declared if not self.choice.excludes("y", reading.prefix + n)]
        for name in tried or declared:
            found = compare(
                value, exact.output, offered[name](), judged, fmt, budget.slices, exact.piece
            )
            self.add("y", reading.prefix + name, found + laundered)

    def _gradients(self, exact: ExactPiece, reading: Reading) -> None:
        dy = exact.piece.take(self.observed.dy["y"]).double()
        entering = Entering.of(exact, dy, reading, self.accumulation)
        gradients, wide = exact.gradients(entering.dy, entering.wide)
        self.sums.add(
            exact.piece, exact.forward, wide, exact.budget, gradients, entering.dy,
            reading.prefix, self.choice, entering.error,
        )  # fmt: skip
        arithmetic = self.accumulation if self.narrow else None
        if "z" in self.observed.gradients and exact.behind is not None:
            fmt = FloatFormat.of(self.observed.gradients["z"].dtype)
            found = gate_gradients(exact, dy, reading, fmt, arithmetic, self.accumulation)
            judged = exact.clean & exact.budget.power & exact.budget.in_range
            for policy, (value, accepted) in found.items():
                self._gradient("z", reading.prefix + policy, exact, value, accepted, judged)
        beside = self.observed.dy.get("residual_out")
        extra = None if beside is None else exact.piece.take(beside).double()
        formats = {
            name: FloatFormat.of(self.observed.gradients[name].dtype)
            for name in ("x", "residual", "z")
            if name in self.observed.gradients and (name != "z" or exact.behind is None)
        }
        for name, policy, value, accepted, judged in input_gradients(
            exact, gradients, wide, entering, reading, formats, extra,
            narrow=self.narrow, excluded=self.choice.excludes, accumulation=self.accumulation,
        ):  # fmt: skip
            self._gradient(name, policy, exact, value, accepted, judged)

    def _gradient(
        self,
        name: str,
        policy: str,
        exact: ExactPiece,
        value: Tensor | DoubleDouble,
        accepted: Interval,
        judged: Tensor,
    ) -> None:
        """Compare one gradient of the view's shape under one policy."""
        computed = self.observed.gradients[name]
        found = compare(
            exact.piece.take(computed).double(), value, accepted, judged,
            FloatFormat.of(computed.dtype), exact.budget.slices, exact.piece,
        )  # fmt: skip
        self.add(f"grad_{name}", policy, found)


def judge(
    problem: Problem, observed: Observed, choice: RoundingChoice | None = None
) -> Comparisons:
    """Compare all that a target returned with the exact result.

    Args:
        problem: Inputs and contract.
        observed: Outputs, gradients and state, on the CPU.
        choice: Rounding policies that are still open; what it excludes is not worked out.

    Returns:
        Per tensor and rounding policy, the comparison over the whole case.
    """
    y = observed.outputs.get("y")
    if y is not None:
        problem = replace(problem, output=FloatFormat.of(y.dtype))
    state = _Judge(problem, observed, choice or RoundingChoice())
    for piece in problem.reduction.pieces(PIECE_ELEMENTS):
        state.piece(piece)
    if observed.dy:
        for tensor, policy, found in state.sums.judged(observed.gradients):
            state.add(tensor, policy, found)
    for tensor, found in state.statistics.judged(observed.state):
        state.add(tensor, FUSED, found)
    return state.found
