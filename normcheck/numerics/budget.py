"""Pre-rounding error budgets: how far a correct target may be before it rounds its result.

Notation as in docs/budgets.md, which derives each rule: u unit roundoff of the accumulation
format, k the longest chain of additions allowed, d the budget of the mean, dv of the variance, dr
of the reciprocal root. All budgets are absolute, float64, at least zero. Growth rates: Chan,
Golub, LeVeque, "Algorithms for computing the sample variance", 1983; Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd ed., chapters 3-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.comparison import Slices
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judgeable import (
    POWER_LIMIT,
    at_the_kink,
    cubes_in_range,
    has_power,
    squares_in_range,
)
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction
from normcheck.numerics.reference import Forward, Gradients

__all__ = [
    "POWER_LIMIT",
    "ForwardBudget",
    "GradientBudget",
    "backward_budget",
    "forward_budget",
    "sum_budget",
]


@dataclass(frozen=True, slots=True)
class ForwardBudget:
    """Budgets of the forward quantities of one piece.

    Attributes:
        mean: Slice shape: d.
        variance: Slice shape: dv.
        root: Slice shape: dr.
        normalised: The view's shape: of c * r.
        output: The view's shape: of c * r * weight + bias.
        slices: What the slices are like.
        power: Slice shape, bool: whether the budget can tell right from wrong here.
        in_range: Slice shape, bool: whether squares stay inside the accumulation format.
    """

    mean: Tensor
    variance: Tensor
    root: Tensor
    normalised: Tensor
    output: Tensor
    slices: Slices
    power: Tensor
    in_range: Tensor


@dataclass(frozen=True, slots=True)
class GradientBudget:
    """Budgets of the gradients of one piece: the view's shape, float64.

    Attributes:
        x: Of the input gradient.
        terms: Sum of the sizes of what the input gradient is the root times.
        in_range: Slice shape, bool: whether it can be judged.
    """

    x: Tensor
    terms: Tensor
    in_range: Tensor


def forward_budget(
    forward: Forward[Tensor],
    reduction: Reduction,
    formula: Formula,
    accumulation: FloatFormat,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    input_error: Tensor | None = None,
    parameter_error: float = 0.0,
) -> ForwardBudget:
    """Return the budgets of one piece.

    Args:
        forward: The exact quantities, rounded to float64.
        reduction: As given to `normalise`.
        formula: As given to `normalise`.
        accumulation: The format whose roundoff and underflow are granted.
        weight: Broadcastable to the view, float64, or None.
        bias: Broadcastable to the view, float64, or None.
        input_error: The view's shape: how far the target's own input to the norm may be off (a
            residual sum that it does not round to the output format), or None.
        parameter_error: Relative error of weight, bias and given statistics as the target reads
            them: u where they are wider than the accumulation format.
    """
    u, tiny = accumulation.unit_roundoff, _underflow(formula, accumulation)
    k = formula.depth(reduction.count)
    magnitude = forward.x.abs()
    shift = torch.zeros_like(forward.x) if input_error is None else input_error
    if formula.flushes:
        shift = shift + torch.where(magnitude < accumulation.smallest_normal, magnitude, 0.0)
    if forward.fixed:
        d, dv = parameter_error * forward.mean.abs(), parameter_error * forward.variance
        square = forward.variance
    else:
        square = _average(forward.x * forward.x, reduction)
        d = torch.zeros_like(square)
        if reduction.centred:
            d = (k + 1) * u * _mean(magnitude, reduction) + 2 * tiny
            d = d + _mean(shift, reduction)
        growth = (k + 4) * u
        # Each square loses up to half of the smallest number; a sum collects what a mean averages.
        lost = 4 + reduction.count if reduction.summed else 4
        dv = _variance_budget(forward.variance, square, d, growth, reduction) + lost * tiny
        if formula.one_pass:
            dv = 2 * growth * square
        dv = dv + _average(2 * forward.deviation.abs() * shift + shift * shift, reduction)
    dr = _root_budget(forward, dv, formula) + 4 * u * forward.root
    root = forward.root + dr
    centring = d + shift + 3 * u * (magnitude + forward.mean.abs())
    normalised = root * centring + forward.deviation.abs() * dr + tiny
    output = normalised + 3 * u * forward.normalised.abs()
    if weight is not None:
        factor = (weight + formula.weight_offset).abs()
        # 1 + weight is itself rounded once; a plain weight is taken as given.
        own = ((u if formula.weight_offset else 0.0) + parameter_error) * factor
        output = factor * output + forward.normalised.abs() * own + tiny
    if bias is not None:
        output = output + (3 * u + parameter_error) * bias.abs()
    return ForwardBudget(
        mean=d,
        variance=dv,
        root=dr,
        normalised=normalised + 2 * u * forward.normalised.abs(),
        output=output,
        slices=_slices(square, forward, reduction, formula),
        power=has_power(normalised, forward, reduction),
        in_range=squares_in_range(magnitude, forward, reduction, accumulation),
    )


def _underflow(formula: Formula, accumulation: FloatFormat) -> float:
    """Return what one operation may lose below the normal numbers."""
    if formula.flushes:
        return accumulation.smallest_normal
    return accumulation.smallest_subnormal


def _average(x: Tensor, reduction: Reduction) -> Tensor:
    if reduction.summed:
        return x.sum(reduction.over, keepdim=True)
    return _mean(x, reduction)


def _mean(x: Tensor, reduction: Reduction) -> Tensor:
    """The mean of the elements that count; others are zero."""
    if reduction.valid is None:
        return x.mean(reduction.over, keepdim=True)
    return x.sum(reduction.over, keepdim=True) / reduction.count


def _variance_budget(
    variance: Tensor, square: Tensor, d: Tensor, growth: float, reduction: Reduction
) -> Tensor:
    if not reduction.centred:
        return growth * variance
    # v (1 + kappa) = v + sqrt(Q v): Welford grows with kappa, two-pass sums with kappa^2 k u.
    welford = growth * (variance + (square * variance).sqrt())
    return torch.minimum(welford, growth * square) + d * d


def _root_budget(forward: Forward[Tensor], dv: Tensor, formula: Formula) -> Tensor:
    """Evaluate r(v - dv) - r, the larger side, without cancellation."""
    v, r = forward.variance, forward.root
    eps = formula.eps if formula.eps_place is EpsPlace.INSIDE else 0.0
    below = (v - dv).clamp_min(0.0)
    change = (v - below) / ((v + eps).sqrt() + (below + eps).sqrt())
    # 0/0: no variance and no budget for one.
    change = torch.where(v - below == 0, 0.0, change)
    above = dv / ((v + eps).sqrt() + (v + dv + eps).sqrt())
    change = torch.maximum(change, torch.where(dv == 0, 0.0, above))
    if formula.eps_place is EpsPlace.FLOOR:
        change = torch.where((v + dv).sqrt() < formula.eps, 0.0, change)
    denominator = 1.0 / r - change
    # At or below zero the budget admits any scale at all.
    return torch.where(denominator > 0, r * change / denominator, torch.inf)


def _slices(
    square: Tensor, forward: Forward[Tensor], reduction: Reduction, formula: Formula
) -> Slices:
    condition = torch.ones_like(forward.variance)
    if reduction.centred and not forward.fixed:
        condition = (square / forward.variance).sqrt().nan_to_num(nan=1.0)
    inside = formula.eps_place is EpsPlace.INSIDE
    beside = forward.variance if inside else forward.variance.sqrt()
    mean = square / reduction.count if reduction.summed else square
    return Slices(condition, mean.sqrt(), formula.eps / beside, reduction.count)


def backward_budget(
    forward: Forward[Tensor],
    gradients: Gradients[Tensor],
    budget: ForwardBudget,
    dy: Tensor,
    reduction: Reduction,
    formula: Formula,
    accumulation: FloatFormat,
    scaled_error: Tensor | None = None,
) -> GradientBudget:
    """Return the budgets of the input gradient and of each term of the weight gradient.

    Args:
        forward: The exact quantities, rounded to float64.
        gradients: The exact gradients, rounded to float64.
        budget: What `forward_budget` returned for them.
        dy: The view's shape, float64.
        reduction: As given to `normalise`.
        formula: As given to `normalise`.
        accumulation: The format whose roundoff and underflow are granted.
        scaled_error: The view's shape: how far g itself may be off, beyond its roundoff.
    """
    u, tiny = accumulation.unit_roundoff, _underflow(formula, accumulation)
    k = formula.depth(reduction.count)
    own = torch.zeros_like(dy) if scaled_error is None else scaled_error
    g, x_hat, e_x_hat = gradients.scaled.abs(), forward.normalised.abs(), budget.normalised
    projected = gradients.mean_projected.abs()
    e_mean = torch.zeros_like(forward.root)
    e_projected = torch.zeros_like(forward.root)
    if not forward.fixed:
        e_projected = (k + 3) * u * _average(g * x_hat, reduction)
        e_projected = e_projected + _average(g * e_x_hat + own * x_hat, reduction)
        if reduction.centred:
            e_mean = (k + 2) * u * _mean(g, reduction) + _mean(own, reduction)
    root, stretch = forward.root + budget.root, forward.stretch
    inner = 2 * u * g + own + e_mean + 2 * u * gradients.mean_scaled.abs()
    if formula.weight_offset:
        inner = inner + u * g
    through = x_hat * e_projected + e_x_hat * (projected + e_projected) + 3 * u * x_hat * projected
    if formula.eps_place is EpsPlace.OUTSIDE:
        # The factor (sqrt v + eps)/sqrt v carries the relative errors of both roots; where eps is
        # much larger than sqrt v, that of the inner one is part of e_projected.
        through = through + 2 * (budget.root / forward.root) * x_hat * projected
    inner = inner + stretch * through
    exact = gradients.x.abs()
    dx = root * inner + (budget.root / forward.root) * exact + 4 * u * exact + tiny * (4 + root)
    terms = g + gradients.mean_scaled.abs() + stretch * x_hat * projected
    in_range = budget.in_range & cubes_in_range(forward, reduction, accumulation)
    if formula.eps_place is EpsPlace.OUTSIDE and not forward.fixed:
        # The root of a variance that underflows has no derivative.
        in_range = in_range & (forward.variance >= accumulation.smallest_normal)
    if formula.eps_place is EpsPlace.FLOOR and not forward.fixed:
        in_range = in_range & ~at_the_kink(forward, budget.variance, formula, u)
    return GradientBudget(dx, terms, in_range)


def sum_budget(magnitude: Tensor, count: int, extra: int, formula: Formula, u: float) -> Tensor:
    """Return the budget of a sum of ``count`` terms: (k(count) + extra) u times ``magnitude``.

    Args:
        magnitude: The sum of the terms' absolute values, float64.
        count: How many terms are added.
        extra: Roundings of each term before the sum.
        formula: Decides how deep a sum may be.
        u: Unit roundoff of the accumulation format.
    """
    return (formula.depth(count) + extra) * u * magnitude
