"""Running statistics after one training step, from the statistics of every slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around
from normcheck.numerics.budget import ForwardBudget
from normcheck.numerics.comparison import Comparison, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Problem, RunningUpdate
from normcheck.numerics.reduction import Piece
from normcheck.numerics.reference import Forward

__all__ = ["SliceStatistics"]


@dataclass(slots=True)
class SliceStatistics:
    """Means and variances of all slices of a case, gathered piece by piece.

    rm' = (1 - m) rm + m mu with the budget m d + 4u(...), rv' = (1 - m) rv + m v n/(n - 1) with
    the budget m dv n/(n - 1) + 4u(...); where several slices share a buffer (instance_norm: one
    per sample), their average. A momentum that reaches a kernel in the accumulation format is off
    by u m, and 1 - m by as much: u m |rm| more.
    """

    problem: Problem
    accumulation: FloatFormat
    axis: int = 0
    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(
        self, piece: Piece, forward: Forward[Tensor] | Forward[DoubleDouble], budget: ForwardBudget
    ) -> None:
        """Keep the statistics of one piece."""
        if self.problem.running is None:
            return
        self.axis = piece.axis
        for name, value in (("mean", forward.mean), ("variance", forward.variance)):
            wide = value if isinstance(value, DoubleDouble) else DoubleDouble.of(value)
            self.parts.setdefault(name, []).append(wide.hi)
            self.parts.setdefault(f"{name}_low", []).append(wide.lo)
        self.parts.setdefault("d", []).append(budget.mean)
        self.parts.setdefault("dv", []).append(budget.variance)
        self.parts.setdefault("in_range", []).append(budget.in_range)

    def judged(self, computed: Mapping[str, Tensor]) -> Iterator[tuple[str, Comparison]]:
        """Yield tensor and comparison of each buffer that was observed."""
        running = self.problem.running
        if running is None or not self.parts:
            return
        whole = {name: torch.cat(parts, self.axis) for name, parts in self.parts.items()}
        count = self.problem.reduction.count
        correction = 1.0 if running.biased or count < 2 else count / (count - 1.0)
        for name, old, value, budget, factor in (
            ("running_mean", running.mean, "mean", whole["d"], 1.0),
            ("running_var", running.variance, "variance", whole["dv"], correction),
        ):
            if name in computed:
                new = DoubleDouble(whole[value], whole[f"{value}_low"]) * factor
                found = self._compare(
                    computed[name], old, new, budget * factor, whole["in_range"], running
                )
                yield name, found

    def _compare(
        self,
        computed: Tensor,
        old: Tensor,
        new: DoubleDouble,
        budget: Tensor,
        in_range: Tensor,
        running: RunningUpdate,
    ) -> Comparison:
        u, momentum = self.accumulation.unit_roundoff, running.momentum
        shared = tuple(i for i, size in enumerate(computed.shape) if size != new.hi.shape[i])
        samples = 1
        size, in_reach = new.hi.abs(), in_range & new.hi.isfinite()
        if shared:
            samples = new.hi.numel() // computed.numel()
            new = new.sum(dim=shared, keepdim=True) / float(samples)
            budget, size = (t.mean(shared, keepdim=True) for t in (budget, size))
            for axis in shared:
                in_reach = in_reach.all(axis, keepdim=True)
        before = DoubleDouble.of(old.double())
        exact = before * (1.0 - momentum) + new * momentum
        scale = (1.0 - momentum) * before.hi.abs() + momentum * size
        depth = self.problem.formula.depth(samples) + 1 if shared else 0
        rounded_momentum = u * momentum * before.hi.abs()
        delta = momentum * budget + (4 + depth) * u * scale + rounded_momentum
        delta = delta + self.accumulation.smallest_subnormal
        fmt = FloatFormat.of(computed.dtype)
        accepted = around(exact if fmt.dtype == torch.float64 else exact.double(), delta, fmt)
        if self.problem.reduction.count < 2 and not running.biased:
            # n/(n - 1) of one value: conventions differ, but a buffer must stay finite.
            limit = torch.full_like(accepted.lower, fmt.largest)
            accepted = Interval(-limit, limit)
        judged = in_reach & delta.isfinite()
        return compare(computed.double(), exact, accepted, judged, fmt)
