"""Directional derivatives of a norm and of its gradients: exact values and budgets.

Along a direction v = (v_x, v_w, v_b) the output moves by the *tangent*

    t = w P(v_x) + x^ v_w + v_b,    P(v) = r (v - mean v - s x^ mean(v x^)),

which is what forward mode returns. The gradients dx, dw, db of ``sum(dy * y)`` give the number
S = <dx, v_x> + <dw, v_w> + <db, v_b>; differentiating it again gives

    dS/d dy = t,    dS/dw = sum over slices of dy P(v_x),    dS/dx = H + P(dy v_w),
    H = -s r^2 (x^ q + b (g - mean g) + a (v - mean v) - 3 x^ a b),
    q = mean((g - mean g)(v - mean v)),  a = mean(g x^),  b = mean(v x^),  g = dy w.

S is symmetric in g and v. Without centring the means of g and v are left out; of an L2 norm, q, a
and b are sums; s is 1, or 0 below a floor, where r is constant; with fixed statistics P(v) = r v
and H = 0. Derived from r = (v + eps)^(-1/2), d r / d x = -r^2 x^ / n; rules D1 and D2 of
docs/budgets.md. Exact values are double-double throughout: such cases are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import around
from normcheck.numerics.budget import POWER_LIMIT, GradientBudget, backward_budget, sum_budget
from normcheck.numerics.comparison import Comparison, Slices, compare
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece, all_over
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Problem
from normcheck.numerics.reduction import EpsPlace, Formula, Piece, Reduction
from normcheck.numerics.reference import Forward, Gradients, Number, differentiate, normalise

__all__ = [
    "Derivative",
    "Directions",
    "curvature",
    "second_derivatives",
    "supports",
    "tangent",
]


@dataclass(frozen=True, slots=True)
class Directions:
    """Where to differentiate along, float64; None for a tensor that stays where it is.

    Attributes:
        x: The view's shape.
        weight: Affine shape.
        bias: Affine shape.
    """

    x: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Derivative:
    """An exact derivative with its budget.

    Attributes:
        exact: The view's shape or affine shape.
        delta: Same shape, float64: how far a target may be off before it rounds.
        judged: Broadcastable to it, bool: where the budget can tell right from wrong.
        slices: What its slices are like; None where it belongs to none.
        piece: Where it lies in the view.
    """

    exact: DoubleDouble
    delta: Tensor
    judged: Tensor
    slices: Slices | None
    piece: Piece | None

    def compare(self, computed: Tensor) -> Comparison:
        """Compare what a target returned, in its own format and of as many elements."""
        fmt = FloatFormat.of(computed.dtype)
        value = computed.reshape(self.delta.shape).double()
        accepted = around(self.exact, self.delta, fmt)
        return compare(value, self.exact, accepted, self.judged, fmt, self.slices, self.piece)


def curvature(forward: Forward[Number], g: Number, v: Number, reduction: Reduction) -> Number:
    """Return H, the derivative of ``sum(g * P(v))`` by the input; the view's shape.

    Args:
        forward: What `normalise` returned, for eps inside the root or as a floor.
        g: The view's shape: dy times weight.
        v: The view's shape: the direction.
        reduction: As given to `normalise`.
    """
    x_hat = forward.normalised
    if forward.fixed:
        return x_hat * 0.0
    if reduction.centred:
        g, v = g - _mean(g, reduction), v - _mean(v, reduction)
    q, a, b = (_mean(p, reduction) for p in (g * v, g * x_hat, v * x_hat))
    inner = x_hat * (q - a * b * 3.0) + g * b + v * a
    return inner * (forward.root * forward.root * forward.stretch) * -1.0


def _mean(value: Number, reduction: Reduction) -> Number:
    """The mean over a slice, or the sum where v is one."""
    total = value.sum(dim=reduction.over, keepdim=True)
    return total if reduction.summed else total / float(reduction.count)


class _Case:
    """What both kinds of derivative need of one case: its exact quantities and those of P(v)."""

    def __init__(self, problem: Problem, directions: Directions) -> None:
        if not supports(problem.formula):
            raise ValueError("eps_place is outside, but D1 and D2 are derived for inside and floor")
        self.problem, self.directions = problem, directions
        self.accumulation = problem.arithmetic or FloatFormat.of(problem.x.dtype).accumulation
        self.u = self.accumulation.unit_roundoff
        whole = Piece(problem.reduction, 0, 0, problem.reduction.view[0])
        self.exact = ExactPiece.of(problem, whole, self.accumulation, rounded=False)
        self.wide = self.exact.wide or self._widened()
        # A direction takes the place of the weight: no offset is added to it.
        self.plain = replace(problem.formula, weight_offset=0.0)
        self.moved = self.gradients(directions.x, None)
        self.moved_budget = self.budget(self.moved, directions.x)

    def _widened(self) -> Forward[DoubleDouble]:
        fixed = None
        if self.problem.fixed is not None:
            mean, variance = self.problem.fixed
            fixed = (DoubleDouble.of(mean.double()), DoubleDouble.of(variance.double()))
        x = DoubleDouble.of(self.exact.forward.x)
        return normalise(x, self.problem.reduction, self.problem.formula, fixed=fixed)

    def gradients(self, dy: Tensor, weight: Tensor | None) -> Gradients[Tensor]:
        """P(dy * weight) in float64, for the budget."""
        return differentiate(self.exact.forward, dy, self.problem.reduction, self.plain, weight)

    def projected(self, dy: Tensor, weight: Tensor | None = None) -> DoubleDouble:
        """P(dy * weight), exactly."""
        factor = None if weight is None else DoubleDouble.of(weight)
        value = DoubleDouble.of(dy)
        return differentiate(self.wide, value, self.problem.reduction, self.plain, factor).x

    def budget(self, found: Gradients[Tensor], dy: Tensor) -> GradientBudget:
        return backward_budget(
            self.exact.forward, found, self.exact.budget, dy, self.problem.reduction, self.plain,
            self.accumulation,
        )  # fmt: skip

    def factor(self) -> DoubleDouble | None:
        """The weight as it multiplies."""
        weight, offset = self.exact.weight, self.problem.formula.weight_offset
        return None if weight is None else DoubleDouble.of(weight) + offset

    def usable(self, size: Tensor, delta: Tensor, in_range: Tensor) -> Tensor:
        """Where the budget leaves a digit of the largest derivative of a slice."""
        over, budget = self.problem.reduction.over, self.exact.budget
        judged = self.exact.clean & budget.power & budget.in_range & in_range
        if size.numel() == 0:
            return judged
        sharp: Tensor = delta.amax(over, keepdim=True) <= POWER_LIMIT * size.abs().amax(
            over, keepdim=True
        )
        return judged & sharp

    def derivative(self, exact: DoubleDouble, delta: Tensor, in_range: Tensor) -> Derivative:
        judged = self.usable(exact.double(), delta, in_range)
        return Derivative(exact, delta, judged, self.exact.budget.slices, self.exact.piece)


def tangent(problem: Problem, directions: Directions) -> Derivative:
    """Return how the output moves along a direction (rule D1).

    Args:
        problem: One case, all of it at once: small.
        directions: Where to.

    Raises:
        ValueError: eps is added outside the root.
    """
    return _tangent(_Case(problem, directions))


def _tangent(case: _Case) -> Derivative:
    u, factor = case.u, case.factor()
    value = case.projected(case.directions.x)
    delta, size = case.moved_budget.x, case.moved.x.abs()
    if factor is not None:
        scale = factor.double().abs()
        value, delta, size = value * factor, delta * scale, size * scale
    along_weight, along_bias = case.directions.weight, case.directions.bias
    if along_weight is not None:
        value = value + case.wide.normalised * along_weight
        delta = delta + case.exact.budget.normalised * along_weight.abs()
        size = size + (case.exact.forward.normalised * along_weight).abs()
    if along_bias is not None:
        value, size = value + along_bias, size + along_bias.abs()
    return case.derivative(value, delta + 4 * u * size, case.moved_budget.in_range)


def second_derivatives(
    problem: Problem, dy: Tensor, directions: Directions
) -> Mapping[str, Derivative]:
    """Return the derivatives of S by ``x``, ``weight`` and ``dy`` (rules D1 and D2).

    Args:
        problem: One case, all of it at once: small.
        dy: The view's shape, float64: the gradient that was fed back.
        directions: What the gradients are multiplied by in S.

    Raises:
        ValueError: eps is added outside the root.
    """
    case = _Case(problem, directions)
    found = {"dy": _tangent(case), "x": _by_input(case, dy)}
    if case.exact.weight is not None:
        found["weight"] = _by_weight(case, dy)
    return found


def _by_input(case: _Case, dy: Tensor) -> Derivative:
    factor, reduction = case.factor(), case.problem.reduction
    g = DoubleDouble.of(dy) if factor is None else DoubleDouble.of(dy) * factor
    value = curvature(case.wide, g, DoubleDouble.of(case.directions.x), reduction)
    delta, in_range = _curvature_budget(case, g.double()), case.moved_budget.in_range
    if case.directions.weight is not None:
        turned = case.gradients(dy, case.directions.weight)
        budget = case.budget(turned, dy)
        delta = delta + budget.x + 2 * case.u * (value.double().abs() + turned.x.abs())
        value = value + case.projected(dy, case.directions.weight)
        in_range = in_range & budget.in_range
    return case.derivative(value, delta, in_range)


def _curvature_budget(case: _Case, g: Tensor) -> Tensor:
    """Rule D2: every factor of every term with its own budget, then roundings and centring."""
    forward, reduction, u = case.exact.forward, case.problem.reduction, case.u
    if forward.fixed:
        return torch.zeros_like(g)
    k = case.problem.formula.depth(reduction.count)
    v, x_hat, e = case.directions.x, forward.normalised.abs(), case.exact.budget.normalised
    a, alpha, e_a = _projection(g, case, k)
    b, beta, e_b = _projection(v, case, k)
    g_size, v_size, e_g, e_v = g.abs(), v.abs(), 2 * u * g.abs(), 2 * u * v.abs()
    products = _mean((g * v).abs(), reduction)
    q = _mean(g * v, reduction)
    if reduction.centred:
        mean_g, mean_v = _mean(g, reduction), _mean(v, reduction)
        q = q - mean_g * mean_v
        size_g, size_v = _mean(g_size, reduction), _mean(v_size, reduction)
        g_size, v_size = g_size + mean_g.abs(), v_size + mean_v.abs()
        e_g, e_v = e_g + (k + 2) * u * size_g, e_v + (k + 2) * u * size_v
        products = products + size_g * size_v
    # q - 3ab is often formed as one sum of products with P(v) or P(g).
    e_q = 2 * (k + 3) * u * (products + a * beta + b * alpha)
    size = x_hat * (q.abs() + 3 * a * b) + g_size * b + v_size * a
    lost = e * (q.abs() + 3 * a * b) + x_hat * (e_q + 3 * (e_a * b + a * e_b + e_a * e_b))
    lost = lost + e_b * g_size + b * e_g + e_a * v_size + a * e_v
    relative = case.exact.budget.root / forward.root
    lost = (1 + relative) ** 2 * lost + (2 * relative + 16 * u) * size
    if reduction.centred:
        lost = lost + _mean(lost, reduction) + (k + 2) * u * _mean(size, reduction)
    tiny = case.accumulation.smallest_subnormal
    return forward.stretch * forward.root.square() * lost + tiny * (4 + forward.root.square())


def _projection(value: Tensor, case: _Case, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """|mean(value x^)|, mean |value x^|, and the budget of the former as in rule B1."""
    reduction, x_hat = case.problem.reduction, case.exact.forward.normalised
    size = _mean((value * x_hat).abs(), reduction)
    lost = _mean(value.abs() * case.exact.budget.normalised, reduction)
    return _mean(value * x_hat, reduction).abs(), size, (k + 3) * case.u * size + lost


def _by_weight(case: _Case, dy: Tensor) -> Derivative:
    """Sums over slices of dy P(v)."""
    reduction, formula = case.problem.reduction, case.problem.formula
    axes, root = reduction.summed_over, case.exact.forward.root
    size = (dy.abs() * root * case.moved_budget.terms).sum(axes, keepdim=True)
    delta = sum_budget(size, reduction.contributions, 4, formula, case.u)
    delta = delta + (dy.abs() * case.moved_budget.x).sum(axes, keepdim=True)
    value = (case.projected(case.directions.x) * dy).sum(axes, keepdim=True)
    usable = case.exact.clean & case.exact.budget.power & case.moved_budget.in_range
    everywhere = (usable & case.exact.budget.in_range).expand(reduction.view)
    # One slice without a budget spoils every sum that it is part of.
    judged = all_over(everywhere, axes) & (delta <= POWER_LIMIT * size)
    return Derivative(value, delta, judged, None, None)


def supports(formula: Formula) -> bool:
    """Whether the rules are derived for where eps is added."""
    return formula.eps_place is not EpsPlace.OUTSIDE
