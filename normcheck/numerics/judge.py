"""The judge: everything that a target returned, compared with the exact result.

One pass over pieces of whole slices, so that memory stays bounded whatever the case. Per tensor
the answer is a comparison for each rounding policy; who may choose among them is decided where
many cases are seen together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around, rounded_sum
from normcheck.numerics.budget import backward_budget
from normcheck.numerics.comparison import Comparison, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.parameter_sums import ParameterSums
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import Piece
from normcheck.numerics.reference import Gradients, differentiate
from normcheck.numerics.rounding_choice import ROUNDED_SUM, RoundingChoice
from normcheck.numerics.rounding_policy import FUSED, OUTPUT_POLICIES, Affine
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
        self.u = self.accumulation.unit_roundoff
        # Whether a policy can round on the way, to something narrower than sums are kept in.
        self.narrow = self.input.precision < self.accumulation.precision
        self.found: Comparisons = {}
        self.sums = ParameterSums(problem, self.accumulation)
        self.statistics = SliceStatistics(problem, self.accumulation)

    def add(self, tensor: str, policy: str, comparison: Comparison) -> None:
        policies = self.found.setdefault(tensor, {})
        policies[policy] = policies.get(policy, Comparison()) + comparison

    def piece(self, piece: Piece) -> None:
        self._residual_out(piece)
        readings = [""] if self.problem.residual is None else ["", ROUNDED_SUM]
        open_readings = [r for r in readings if not self.choice.excludes_reading(r)] or readings
        for prefix in open_readings:
            exact = ExactPiece.of(self.problem, piece, self.accumulation, rounded=bool(prefix))
            self._outputs(exact, prefix)
            if prefix == open_readings[0]:
                self.statistics.add(piece, exact.wide or exact.forward, exact.budget)
            if self.observed.dy:
                self._gradients(exact, prefix)

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

    def _product_error(self) -> float:
        """Relative error of a product with the weight in the accumulation format."""
        weight = self.problem.weight
        if self.problem.formula.weight_offset:
            return 2 * self.u
        wide = weight is not None and FloatFormat.of(weight.dtype).precision > self.input.precision
        return self.u if wide else 0.0

    def _candidates(self, exact: ExactPiece, fmt: FloatFormat, prefix: str) -> dict[str, Interval]:
        """Return the accepted outputs of every rounding policy that is still open."""

        def fused() -> Interval:
            return around(exact.output, exact.budget.output, fmt)

        if not self.narrow or (exact.weight is None and exact.bias is None):
            # Nothing is rounded on the way: every policy is this one.
            return {FUSED: fused()}
        weight = exact.weight
        if weight is not None:
            weight = weight + self.problem.formula.weight_offset
        affine = Affine(weight, exact.bias, self.input, fmt, self.u, self._product_error())
        names = [FUSED, *OUTPUT_POLICIES]
        declared = [name for name in names if self.problem.rounding in (None, name)]
        tried = [n for n in declared if not self.choice.excludes("y", prefix + n)] or declared
        return {
            name: fused()
            if name == FUSED
            else OUTPUT_POLICIES[name](exact.forward, exact.budget, affine)
            for name in tried
        }

    def _outputs(self, exact: ExactPiece, prefix: str) -> None:
        computed = self.observed.outputs.get("y")
        if computed is None:
            return
        fmt, budget = FloatFormat.of(computed.dtype), exact.budget
        value = exact.piece.take(computed).double()
        judged = exact.clean & budget.power & budget.in_range
        laundered = Comparison(laundered=exact.laundered(value))
        for name, accepted in self._candidates(exact, fmt, prefix).items():
            found = compare(
                value, exact.output, accepted, judged, fmt, budget.condition, exact.piece
            )
            self.add("y", prefix + name, found + laundered)

    def _gradients(self, exact: ExactPiece, prefix: str) -> None:
        dy = exact.piece.take(self.observed.dy["y"]).double()
        gradients, wide = exact.gradients(dy)
        self._input_gradient(exact, gradients, wide, dy, prefix + FUSED)
        cast = f"{prefix}cast_then_scale"
        if self.narrow and exact.weight is not None and not self._excludes_gradient(cast):
            error = self._product_error() * gradients.scaled.abs()
            scaled = around(gradients.scaled, error, self.input)
            middle, own = (scaled.lower + scaled.upper) / 2, (scaled.upper - scaled.lower) / 2
            formula = self.problem.formula
            rounded = differentiate(exact.forward, middle, exact.piece.reduction, formula)
            self._input_gradient(exact, rounded, None, dy, cast, own)
        self.sums.add(
            exact.piece, exact.forward, wide, exact.budget, gradients, dy, prefix, self.choice
        )

    def _excludes_gradient(self, policy: str) -> bool:
        return self.choice.excludes("grad_x", policy) and (
            self.problem.residual is None or self.choice.excludes("grad_x", f"{policy}+accumulated")
        )

    def _input_gradient(
        self,
        exact: ExactPiece,
        gradients: Gradients[Tensor],
        wide: Gradients[DoubleDouble] | None,
        dy: Tensor,
        policy: str,
        scaled_error: Tensor | None = None,
    ) -> None:
        reduction, formula = exact.piece.reduction, self.problem.formula
        budget = backward_budget(
            exact.forward, gradients, exact.budget, dy, reduction, formula, self.accumulation,
            scaled_error,
        )  # fmt: skip
        value: Tensor | DoubleDouble = gradients.x if wide is None else wide.x
        beside = self.observed.dy.get("residual_out")
        extra = None if beside is None else exact.piece.take(beside).double()
        judged = exact.clean & exact.budget.power & budget.in_range
        total = value if extra is None else value + extra
        delta = budget.x
        if extra is not None:
            # The terms of dx may be added onto the other branch's gradient one by one.
            partial = extra.abs() + exact.forward.root * budget.terms
            delta = delta + 3 * self.u * partial
        for name in ("x", "residual"):
            computed = self.observed.gradients.get(name)
            if computed is None:
                continue
            fmt = FloatFormat.of(computed.dtype)
            accepted = {policy: around(total, delta, fmt)}
            if extra is not None and self.narrow:
                # Autograd adds the other branch after rounding the norm's own gradient.
                stepwise = rounded_sum(around(value, budget.x, fmt), extra).rounded(fmt)
                accepted[f"{policy}+accumulated"] = stepwise
            for label, interval in accepted.items():
                found = compare(
                    exact.piece.take(computed).double(), total, interval, judged, fmt,
                    exact.budget.condition, exact.piece,
                )  # fmt: skip
                self.add(f"grad_{name}", label, found)


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
    state = _Judge(problem, observed, choice or RoundingChoice())
    for piece in problem.reduction.pieces(PIECE_ELEMENTS):
        state.piece(piece)
    if observed.dy:
        for tensor, policy, found in state.sums.judged(observed.gradients):
            state.add(tensor, policy, found)
    for tensor, found in state.statistics.judged(observed.state):
        state.add(tensor, FUSED, found)
    return state.found
