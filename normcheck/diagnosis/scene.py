"""One call of a target as a diagnosis sees it: what came in, what came out, what was right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import observed_of, pose
from normcheck.diagnosis.guess import Guess, guessed
from normcheck.execution.observation import Observation
from normcheck.numerics.acceptance import Interval, around, error_ratio
from normcheck.numerics.budget import ForwardBudget, forward_budget
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import Formula, Reduction
from normcheck.numerics.reference import Forward, normalise
from normcheck.numerics.rounding import round_to
from normcheck.numerics.rounding_policy import OUTPUT_POLICIES, Affine
from normcheck.policy import Policy

__all__ = ["LARGEST", "Match", "Scene", "matched"]

# Elements: a larger case is not looked at, so that a diagnosis takes a fraction of a second.
LARGEST = 1 << 19


@dataclass(frozen=True, slots=True)
class Match:
    """How well a guess tells what was observed.

    Attributes:
        explained: Whether every element that can be judged is within the guess's own budget.
        ratio: Largest error over that budget.
        outside: The tensor's shape, bool: the elements that are not explained.
        room: The tensor's shape, float64: half the width of what the guess accepts.
        judged: The tensor's shape, bool.
        inside: The tensor's shape, bool: what is accepted, judged or not.
    """

    explained: bool
    ratio: float
    outside: Tensor
    room: Tensor
    judged: Tensor
    inside: Tensor


def matched(
    value: Tensor, exact: Tensor, accepted: Interval, judged: Tensor, fmt: FloatFormat
) -> Match:
    """Compare what was observed with what a guess says; NaN and infinities match each other."""
    ratio = error_ratio(value, exact, accepted, fmt)
    beyond = ~exact.isfinite() | (exact.abs() > fmt.largest)
    # Below the normal numbers a target may flush.
    lost = (exact.abs() < 4 * fmt.smallest_normal) & (value.abs() < 4 * fmt.smallest_normal)
    ratio = torch.where(lost, 0.0, ratio)
    ratio = torch.where(beyond, torch.where(value.isfinite(), 1e12, 0.0), ratio)
    judged = judged.expand(ratio.shape)
    outside = judged & (ratio > 1.0)
    room = torch.where(beyond, 0.0, (accepted.upper - accepted.lower) / 2)
    largest = float(torch.where(judged, ratio, 0.0).max()) if ratio.numel() else 0.0
    return Match(not bool(outside.any()), largest, outside, room, judged, ratio <= 1.0)


class Scene:
    """One case, what the target returned for it, and the exact quantities.

    Attributes:
        inputs: The case.
        policy: The declared conventions.
        problem: The case in the shape of the view.
        observed: What was returned, in the shape of the view.
    """

    def __init__(self, inputs: Inputs, policy: Policy, observation: Observation) -> None:
        self.inputs, self.policy = inputs, policy
        self.problem: Problem = pose(inputs, policy)
        shapes = {name: t.shape for name, t in inputs.tensors.items()}
        gradients = {n: g for n, g in observation.gradients.items() if g.shape == shapes[n]}
        state: Mapping[str, Tensor] = observation.state if inputs.case.mode == "train" else {}
        self.kept: dict[str, object] = {}
        self.observed: Observed = observed_of(inputs, observation.outputs, gradients, state)

    @property
    def reduction(self) -> Reduction:
        """Which axes are reduced."""
        return self.problem.reduction

    @property
    def formula(self) -> Formula:
        """The declared function."""
        return self.problem.formula

    @property
    def eps(self) -> float:
        """The epsilon that was passed."""
        return self.problem.formula.eps

    @property
    def count(self) -> int:
        """Elements of one slice."""
        return self.reduction.count

    @cached_property
    def input_format(self) -> FloatFormat:
        """The format of ``x``."""
        return FloatFormat.of(self.problem.x.dtype)

    @cached_property
    def x(self) -> Tensor:
        """What is normalised: the view's shape, float64."""
        x = self.problem.x.double()
        return x if self.problem.residual is None else x + self.problem.residual.double()

    @cached_property
    def weight(self) -> Tensor | None:
        """The factor, an offset included; float64."""
        w = self.problem.weight
        return None if w is None else w.double() + self.formula.weight_offset

    @cached_property
    def bias(self) -> Tensor | None:
        """float64, or None."""
        return None if self.problem.bias is None else self.problem.bias.double()

    @cached_property
    def fixed(self) -> tuple[Tensor, Tensor] | None:
        """The statistics that were passed, float64."""
        given = self.problem.fixed
        return None if given is None else (given[0].double(), given[1].double())

    @cached_property
    def exact(self) -> Forward[Tensor]:
        """The exact quantities."""
        plain = replace(self.formula, weight_offset=0.0)
        return normalise(self.x, self.reduction, plain, self.weight, self.bias, self.fixed)

    @cached_property
    def clean(self) -> Tensor:
        """Slice shape, bool: whether only finite numbers came in."""
        found: Tensor = self.x.isfinite()
        for axis in self.reduction.over:
            found = found.all(axis, keepdim=True)
        return found

    @cached_property
    def y(self) -> Tensor:
        """What was returned, the view's shape, float64."""
        return self.observed.outputs["y"].double()

    def rows(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the view (or broadcast over it) as (slices, elements)."""
        kept = [a for a in range(len(self.reduction.view)) if a not in self.reduction.over]
        whole = tensor.expand(self.reduction.view).permute(*kept, *self.reduction.over)
        width = math.prod(self.reduction.view[a] for a in self.reduction.over)
        return whole.reshape(-1, max(1, width))

    def spread(self, statistic: Tensor) -> Tensor:
        """Return one number per slice in slice shape."""
        return statistic.reshape(self.reduction.slices)

    def guess(self, **known: object) -> Guess:
        """Return what the target gives if some quantities are others (see `guessed`)."""
        return guessed(self.exact, self.formula, self.weight, self.bias, self.reduction, **known)  # type: ignore[arg-type]

    def budget(self, guess: Guess, formula: Formula | None = None) -> ForwardBudget:
        """Return the budgets of a guess; 2u more for parameters, which some targets round."""
        fmt = self.input_format.accumulation
        plain = replace(formula or self.formula, weight_offset=0.0)
        centred = self.reduction.centred or guess.centred
        return forward_budget(
            guess.forward, replace(self.reduction, centred=centred), plain, fmt, guess.weight,
            guess.bias, parameter_error=2 * fmt.unit_roundoff,
        )  # fmt: skip

    @cached_property
    def own_budget(self) -> ForwardBudget:
        """The budgets of the right output."""
        return self.budget(self.guess())

    def match(self, guess: Guess, formula: Formula | None = None) -> Match:
        """Compare the observed output with a guess, under the rounding policy that fits best."""
        found = [self._match(guess, name, formula) for name in ("", *self._policies(guess))]
        return min(found, key=lambda m: (int(m.outside.sum()), m.ratio))

    def _policies(self, guess: Guess) -> list[str]:
        narrow = self.input_format.precision < self.input_format.accumulation.precision
        plain = guess.weight is None and guess.bias is None
        if not narrow or plain or guess.ends is not None:
            return []
        return ["cast_then_scale", "cast_each_step"]

    def _match(self, guess: Guess, policy: str, formula: Formula | None) -> Match:
        fmt, budget = FloatFormat.of(self.observed.outputs["y"].dtype), self.budget(guess, formula)
        delta = budget.output * (4.0 if self.input_format.dtype == torch.float64 else 1.0)
        exact = guess.forward.output
        if guess.forward is not self.exact:
            # The root may depend on the variance in another way: its own relative budget as well.
            part = (self._root_part * guess.forward.normalised).abs()
            part = part if guess.weight is None else part * guess.weight.abs()
            delta = delta + part.nan_to_num(nan=0.0, posinf=0.0)
        u = self.input_format.accumulation.unit_roundoff
        if policy:
            affine = Affine(guess.weight, guess.bias, self.input_format, fmt, u, 2 * u)
            accepted = OUTPUT_POLICIES[policy](guess.forward, budget, affine)
        elif guess.ends is not None:
            low, high = guess.ends[0] - delta, guess.ends[1] + delta
            accepted = Interval(round_to(low, fmt), round_to(high, fmt))
        else:
            accepted = around(exact, delta, fmt)
        if guess.truncated:
            accepted = _cut(exact, delta, fmt)
        judged = self.clean & budget.power & budget.in_range & ~guess.free
        judged = judged | (self.clean & ~exact.isfinite() & ~guess.free)
        if guess.told is not None:
            mask, value = guess.told
            exact = torch.where(mask, value, exact)
            stored = round_to(value, fmt)
            accepted = Interval(
                torch.where(mask, stored, accepted.lower), torch.where(mask, stored, accepted.upper)
            )
            judged = judged | (mask & self.clean)
        return matched(self.y, exact, accepted, judged, fmt)

    @cached_property
    def _root_part(self) -> Tensor:
        budget = self.budget(self.guess())
        part = budget.root / self.exact.root
        return torch.where(budget.power & part.isfinite(), part, 0.0)

    @cached_property
    def honest(self) -> Match:
        """How well the declared function tells the output."""
        return self.match(self.guess())

    def explained_by(self, guess: Guess) -> bool:
        """Whether a guess explains all elements, and says something about most wrong ones."""
        found, wrong = self.match(guess), self.honest.outside & ~guess.free
        error = (self.y - self.exact.output).abs().nan_to_num(nan=torch.inf)
        heard = wrong & (found.judged | (found.inside & (found.room <= 0.5 * error)))
        return found.explained and 2 * int(heard.sum()) >= int(wrong.sum())

    def told_by(self, guess: Guess) -> bool:
        """Whether a guess is nearer to some wrong element than what is right, not just wider."""
        error = (self.y - self.exact.output).abs().nan_to_num(nan=torch.inf)
        found = self.match(guess)
        near = (found.room <= 0.5 * error) & found.inside & self.honest.outside & ~guess.free
        return bool(near.any())

    @cached_property
    def implied(self) -> tuple[Tensor, Tensor]:
        """Reciprocal root and mean, per slice, that fit the output best; NaN where none does.

        ``y = (x - mean) root weight + bias`` is linear in the root and in mean times root.
        """
        unit = torch.ones(self.reduction.view, dtype=torch.float64)
        w = self.rows(unit if self.weight is None else self.weight * unit)
        c, y = self.rows(self.exact.deviation), self.rows(self.y)
        if self.bias is not None:
            y = y - self.rows(self.bias * unit)
        p, q = w * c, w
        usable = y.isfinite().all(-1)
        pp, pq, qq = (p * p).sum(-1), (p * q).sum(-1), (q * q).sum(-1)
        py, qy = (p * y).sum(-1), (q * y).sum(-1)
        mean = self.rows(self.exact.mean.expand(self.reduction.view))[:, 0]
        if not self.reduction.centred:
            return torch.where(usable, py / pp, torch.nan), mean
        determinant = pp * qq - pq * pq
        usable = usable & (determinant > 1e-9 * pp * qq)
        root = torch.where(usable, (py * qq - qy * pq) / determinant, torch.nan)
        shift = (qy * pp - py * pq) / determinant
        return root, torch.where(usable, mean - shift / root, torch.nan)


def _cut(exact: Tensor, delta: Tensor, fmt: FloatFormat) -> Interval:
    """Both ends of an interval, cut to a format instead of rounded."""
    ends = []
    for end in (exact - delta, exact + delta):
        exponent = torch.frexp(end)[1].clamp_min(fmt.min_exponent + 1)
        step = torch.ldexp(torch.ones_like(end), exponent - fmt.precision)
        ends.append((end / step).trunc() * step)
    return Interval(torch.minimum(*ends), torch.maximum(*ends))
