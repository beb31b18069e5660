"""Gradients of weight and bias: sums over pieces, with the budget of each sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from normcheck.numerics.acceptance import around
from normcheck.numerics.budget import POWER_LIMIT, ForwardBudget, sum_budget
from normcheck.numerics.comparison import Comparison, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Problem
from normcheck.numerics.reduction import Piece
from normcheck.numerics.reference import Forward, Gradients
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.numerics.rounding_policy import FUSED, WEIGHT_GRADIENT_POLICIES

__all__ = ["ParameterSums"]


@dataclass(slots=True)
class _Sum:
    """A sum of terms of affine shape, gathered piece by piece; float64, ``low`` its low parts."""

    value: Tensor
    low: Tensor
    magnitude: Tensor  # sum of absolute values
    error: Tensor  # sum of the terms' own errors

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> _Sum:
        return cls(*(torch.zeros(shape, dtype=torch.float64) for _ in range(4)))

    def add(self, piece: Piece, terms: Tensor | DoubleDouble, error: Tensor) -> None:
        axes = piece.reduction.summed_over
        size = terms.abs().double()
        if isinstance(terms, DoubleDouble):
            part = terms.sum(dim=axes, keepdim=True)
        else:
            part = DoubleDouble.of(terms.sum(axes, keepdim=True))
        target = DoubleDouble(piece.take(self.value), piece.take(self.low)) + part
        piece.take(self.value).copy_(target.hi)
        piece.take(self.low).copy_(target.lo)
        piece.take(self.magnitude).add_(size.sum(axes, keepdim=True))
        piece.take(self.error).add_(error.expand(size.shape).sum(axes, keepdim=True))


@dataclass(slots=True)
class ParameterSums:
    """The sums of one case: ``weight`` per rounding policy, and ``bias``."""

    problem: Problem
    accumulation: FloatFormat
    weight: dict[str, _Sum] = field(default_factory=dict)
    bias: _Sum | None = None
    reading: str | None = None

    def add(
        self,
        piece: Piece,
        forward: Forward[Tensor],
        wide: Gradients[DoubleDouble] | None,
        budget: ForwardBudget,
        gradients: Gradients[Tensor],
        dy: Tensor,
        prefix: str,
        choice: RoundingChoice,
        dy_error: Tensor | None = None,
    ) -> None:
        """Add the terms of one piece.

        Args:
            piece: Where the terms lie.
            forward: The exact forward quantities.
            wide: The exact gradients in double-double, for float64 targets.
            budget: The forward budgets.
            gradients: The exact gradients.
            dy: The view's shape, float64.
            prefix: Put before the policy's name: how the residual sum was read.
            choice: Rounding policies that are still open.
            dy_error: The view's shape: how far dy may be off, behind a gate; None for not at all.
        """
        shape = self.problem.reduction.affine
        if self.problem.weight is not None:
            # What leaves the accumulation format has no budget, and neither has a sum of it.
            lost = torch.where(budget.in_range, 0.0, torch.inf)
            error = dy.abs() * budget.normalised + lost
            if dy_error is not None:
                error = error + dy_error * (forward.normalised.abs() + budget.normalised)
            terms = gradients.weight_terms if wide is None else wide.weight_terms
            policy = self.weight.setdefault(prefix + FUSED, _Sum.zeros(shape))
            policy.add(piece, terms, error)
            narrow = self.problem.narrow
            if narrow.precision < self.accumulation.precision:
                for name, accept in WEIGHT_GRADIENT_POLICIES.items():
                    if choice.excludes("grad_weight", prefix + name):
                        continue
                    interval = accept(forward, budget, dy, narrow, dy_error)
                    policy = self.weight.setdefault(prefix + name, _Sum.zeros(shape))
                    policy.add(piece, interval.middle, interval.radius + lost)
        if self.problem.bias is not None and self.reading in (None, prefix):
            # dbias is the same under both readings of a residual sum: one of them counts.
            self.reading = prefix
            self.bias = self.bias or _Sum.zeros(shape)
            exact: Tensor | DoubleDouble = dy if wide is None else DoubleDouble.of(dy)
            self.bias.add(piece, exact, torch.zeros_like(dy))

    def judged(self, computed: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Comparison]]:
        """Yield tensor, rounding policy and comparison of every sum that was returned."""
        if "weight" in computed:
            for policy, total in self.weight.items():
                yield "grad_weight", policy, self._compare(total, computed["weight"], extra=3)
        if "bias" in computed and self.bias is not None:
            yield "grad_bias", FUSED, self._compare(self.bias, computed["bias"], extra=1)

    def _compare(self, total: _Sum, computed: Tensor, extra: int) -> Comparison:
        formula, u = self.problem.formula, self.accumulation.unit_roundoff
        count = self.problem.reduction.contributions
        own = sum_budget(total.magnitude, count, extra, formula, u)
        delta = own + total.error + self.accumulation.smallest_subnormal * max(count, 1)
        fmt = FloatFormat.of(computed.dtype)
        exact: Tensor | DoubleDouble = total.value
        if fmt.dtype == torch.float64:
            exact = DoubleDouble(total.value, total.low)
        # A sum whose terms' own errors reach a tenth of their size says nothing about a target.
        judged = total.value.isfinite() & delta.isfinite()
        judged &= delta <= POWER_LIMIT * total.magnitude.clamp_min(delta.new_tensor(0.0))
        # All terms exactly zero: zero is the only right answer.
        judged |= (total.magnitude == 0) & delta.isfinite() & total.value.isfinite()
        return compare(computed.double(), exact, around(exact, delta, fmt), judged, fmt)
