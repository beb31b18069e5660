"""The judge: everything that a target returned, compared with the exact result.

One pass over pieces of whole slices, so that memory stays bounded whatever the case. Per tensor
the answer is a comparison for each rounding policy; who may choose among them is decided where
many cases are seen together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import around
from normcheck.numerics.budget import ForwardBudget, backward_budget, forward_budget
from normcheck.numerics.comparison import Comparison, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.parameter_sums import ParameterSums
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import Piece
from normcheck.numerics.reference import Forward, Gradients, differentiate, normalise
from normcheck.numerics.rounding import round_to
from normcheck.numerics.rounding_policy import FUSED, OUTPUT_POLICIES, Affine
from normcheck.numerics.running import SliceStatistics

__all__ = ["PIECE_ELEMENTS", "Comparisons", "judge"]

# Elements per piece: temporaries of 1 MiB each stay in a core's second-level cache.
PIECE_ELEMENTS = 1 << 17

Comparisons = dict[str, dict[str, Comparison]]
"""Per tensor (``y``, ``grad_x``, ``running_var``, ...) and rounding policy, its comparison."""


@dataclass(frozen=True, slots=True)
class _Exact:
    """Exact quantities of one piece under one reading of the residual sum."""

    piece: Piece
    forward: Forward[Tensor]
    output: Tensor | DoubleDouble
    wide: Forward[DoubleDouble] | None
    budget: ForwardBudget
    weight: Tensor | None
    bias: Tensor | None
    clean: Tensor  # the view's shape or slice shape: nothing but finite numbers came in


class _Judge:
    """State of one pass."""

    def __init__(self, problem: Problem, observed: Observed) -> None:
        self.problem, self.observed = problem, observed
        self.input = FloatFormat.of(problem.x.dtype)
        self.accumulation = problem.arithmetic or self.input.accumulation
        self.u = self.accumulation.unit_roundoff
        self.wide = self.input.dtype == torch.float64
        self.narrow = self.input.precision < self.accumulation.precision
        self.found: Comparisons = {}
        self.sums = ParameterSums(problem, self.accumulation)
        self.statistics = SliceStatistics(problem, self.accumulation)

    def add(self, tensor: str, policy: str, comparison: Comparison) -> None:
        policies = self.found.setdefault(tensor, {})
        policies[policy] = policies.get(policy, Comparison()) + comparison

    def tries(self, policy: str) -> bool:
        return self.problem.rounding in (None, policy)

    def _product_error(self) -> float:
        """Relative error of a product with the weight in the accumulation format."""
        weight = self.problem.weight
        if self.problem.formula.weight_offset:
            return 2 * self.u
        wide = weight is not None and FloatFormat.of(weight.dtype).precision > self.input.precision
        return self.u if wide else 0.0

    def piece(self, piece: Piece) -> None:
        self._residual_out(piece)
        sums = ["unrounded"]
        if self.problem.residual is not None:
            sums.append("rounded_sum")
        for reading in sums:
            exact = self._exact(piece, rounded=reading == "rounded_sum")
            prefix = "" if reading == "unrounded" else f"{reading}+"
            self._outputs(exact, prefix)
            if reading == "unrounded":
                self.statistics.add(exact.piece, exact.wide or exact.forward, exact.budget)
            if self.observed.dy:
                self._gradients(exact, prefix)

    def _residual_out(self, piece: Piece) -> None:
        residual, computed = self.problem.residual, self.observed.outputs.get("residual_out")
        if residual is None or computed is None:
            return
        x, other = piece.take(self.problem.x).double(), piece.take(residual).double()
        total: Tensor | DoubleDouble = x + other
        if self.wide:
            total = DoubleDouble.of(x) + other
        accepted = around(total, torch.zeros_like(x), FloatFormat.of(computed.dtype))
        finite = x.isfinite() & other.isfinite()
        value = piece.take(computed).double()
        fmt = FloatFormat.of(computed.dtype)
        self.add("residual_out", FUSED, compare(value, total, accepted, finite, fmt, piece=piece))

    def _exact(self, piece: Piece, *, rounded: bool) -> _Exact:
        p, take = self.problem, piece.take
        x = take(p.x).double()
        weight = None if p.weight is None else take(p.weight).double()
        bias = None if p.bias is None else take(p.bias).double()
        fixed = None if p.fixed is None else (take(p.fixed[0]).double(), take(p.fixed[1]).double())
        error = None
        if p.residual is not None:
            x = x + take(p.residual).double()
            if rounded:
                x = round_to(x, self.input)
            else:
                error = self.u * x.abs()
        forward = normalise(x, piece.reduction, p.formula, weight, bias, fixed)
        wide, output = None, forward.output
        exact_output: Tensor | DoubleDouble = output
        if self.wide:
            wide = self._in_double_double(piece, x, weight, bias, fixed, rounded=rounded)
            exact_output = wide.output
        budget = forward_budget(
            forward, piece.reduction, p.formula, self.accumulation, weight, bias, error
        )
        clean = x.isfinite()
        if p.fixed is None:
            clean = _all(clean, piece.reduction.over)
        return _Exact(piece, forward, exact_output, wide, budget, weight, bias, clean)

    def _in_double_double(
        self,
        piece: Piece,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        fixed: tuple[Tensor, Tensor] | None,
        *,
        rounded: bool,
    ) -> Forward[DoubleDouble]:
        value = DoubleDouble.of(x)
        if self.problem.residual is not None and not rounded:
            value = DoubleDouble.of(piece.take(self.problem.x).double())
            value = value + piece.take(self.problem.residual).double()
        lifted = [None if t is None else DoubleDouble.of(t) for t in (weight, bias)]
        given = None if fixed is None else (DoubleDouble.of(fixed[0]), DoubleDouble.of(fixed[1]))
        return normalise(value, piece.reduction, self.problem.formula, lifted[0], lifted[1], given)

    def _outputs(self, exact: _Exact, prefix: str) -> None:
        computed = self.observed.outputs.get("y")
        if computed is None:
            return
        fmt, budget = FloatFormat.of(computed.dtype), exact.budget
        value = exact.piece.take(computed).double()
        judged = exact.clean & budget.power & budget.in_range
        laundered = _laundered(value, exact.clean)
        candidates = {}
        # Where nothing is rounded on the way, every policy is this one.
        if self.tries(FUSED) or not self.narrow or exact.weight is None:
            candidates[FUSED] = around(exact.output, budget.output, fmt)
        if self.narrow and exact.weight is not None:
            offset = exact.weight + self.problem.formula.weight_offset
            affine = Affine(offset, exact.bias, self.input, fmt, self.u, self._product_error())
            for name, accept in OUTPUT_POLICIES.items():
                if self.tries(name):
                    candidates[name] = accept(exact.forward, budget, affine)
        for name, accepted in candidates.items():
            found = compare(
                value, exact.output, accepted, judged, fmt, budget.condition, exact.piece
            )
            self.add("y", prefix + name, found + Comparison(laundered=laundered))

    def _gradients(self, exact: _Exact, prefix: str) -> None:
        dy = exact.piece.take(self.observed.dy["y"]).double()
        gradients, wide = self._differentiate(exact, dy, exact_scaled=None)
        self._input_gradient(exact, gradients, wide, dy, prefix, FUSED)
        if self.narrow and exact.weight is not None:
            error = self._product_error() * gradients.scaled.abs()
            scaled = around(gradients.scaled, error, self.input)
            middle, own = (scaled.lower + scaled.upper) / 2, (scaled.upper - scaled.lower) / 2
            cast, _ = self._differentiate(exact, dy, exact_scaled=middle)
            self._input_gradient(exact, cast, None, dy, prefix, "cast_then_scale", own)
        self.sums.add(exact.piece, exact.forward, wide, exact.budget, gradients, dy, prefix)

    def _differentiate(
        self, exact: _Exact, dy: Tensor, exact_scaled: Tensor | None
    ) -> tuple[Gradients[Tensor], Gradients[DoubleDouble] | None]:
        reduction, formula = exact.piece.reduction, self.problem.formula
        if exact_scaled is not None:
            return differentiate(exact.forward, exact_scaled, reduction, formula), None
        gradients = differentiate(exact.forward, dy, reduction, formula, exact.weight)
        if exact.wide is None:
            return gradients, None
        weight = None if exact.weight is None else DoubleDouble.of(exact.weight)
        wide = differentiate(exact.wide, DoubleDouble.of(dy), reduction, formula, weight)
        return gradients, wide

    def _input_gradient(
        self,
        exact: _Exact,
        gradients: Gradients[Tensor],
        wide: Gradients[DoubleDouble] | None,
        dy: Tensor,
        prefix: str,
        policy: str,
        scaled_error: Tensor | None = None,
    ) -> None:
        budget = backward_budget(
            exact.forward, gradients, exact.budget, dy, exact.piece.reduction,
            self.problem.formula, self.accumulation, scaled_error,
        )  # fmt: skip
        value: Tensor | DoubleDouble = gradients.x if wide is None else wide.x
        beside = self.observed.dy.get("residual_out")
        extra = None if beside is None else exact.piece.take(beside).double()
        judged = exact.clean & exact.budget.power & budget.in_range
        for name in ("x", "residual"):
            computed = self.observed.gradients.get(name)
            if computed is None:
                continue
            fmt = FloatFormat.of(computed.dtype)
            total, delta = value, budget.x
            if extra is not None:
                delta = delta + self.u * (gradients.x.abs() + extra.abs())
                total = value + extra
            accepted = around(total, delta, fmt)
            found = compare(
                exact.piece.take(computed).double(), total, accepted, judged, fmt,
                exact.budget.condition, exact.piece,
            )  # fmt: skip
            self.add(f"grad_{name}", prefix + policy, found)
            if extra is not None and self.narrow:
                # Autograd adds the branch of the residual after rounding the norm's gradient.
                stepwise = around(value, budget.x, fmt)
                stepwise = type(stepwise)(stepwise.lower + extra, stepwise.upper + extra)
                found = compare(
                    exact.piece.take(computed).double(), total, stepwise.rounded(fmt), judged,
                    fmt, exact.budget.condition, exact.piece,
                )  # fmt: skip
                self.add(f"grad_{name}", f"{prefix}{policy}+accumulated", found)


def _all(mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Logical and over ``axes``, kept as 1."""
    for axis in axes:
        mask = mask.all(axis, keepdim=True)
    return mask


def _laundered(value: Tensor, clean: Tensor) -> int:
    """Count slices whose input is not finite but whose output is."""
    if clean.shape == value.shape:
        return int((value.isfinite() & ~clean).sum())
    axes = tuple(i for i, size in enumerate(clean.shape) if size != value.shape[i])
    return int((_all(value.isfinite(), axes) & ~clean).sum())


def judge(problem: Problem, observed: Observed) -> Comparisons:
    """Compare all that a target returned with the exact result.

    Args:
        problem: Inputs and contract.
        observed: Outputs, gradients and state, on the CPU.

    Returns:
        Per tensor and rounding policy, the comparison over the whole case.
    """
    state = _Judge(problem, observed)
    for piece in problem.reduction.pieces(PIECE_ELEMENTS):
        state.piece(piece)
    if observed.dy:
        for tensor, policy, found in state.sums.judged(observed.gradients):
            state.add(tensor, policy, found)
    for tensor, found in state.statistics.judged(observed.state):
        state.add(tensor, FUSED, found)
    return state.found


def best(policies: Mapping[str, Comparison]) -> str:
    """Return the rounding policy that explains one tensor best."""
    return min(policies, key=lambda name: (policies[name].violations, policies[name].ratio))
