"""The exact result: every quantity of a normalization and of its gradients.

Written once for float64 tensors (enough for inputs of at most 32 bits: their roundoff is 2**29
times smaller than the budget's) and for double-double ones (float64 targets). Two passes with one
refinement of the mean. Nothing here is shared with a target, and nothing here is a Welford loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction

__all__ = ["Forward", "Gradients", "Number", "differentiate", "normalise"]

Number = TypeVar("Number", Tensor, DoubleDouble)


@dataclass(frozen=True, slots=True)
class Forward(Generic[Number]):
    """Exact forward quantities of one piece.

    Attributes:
        x: The view's shape: what was normalised.
        mean: Slice shape; zero where the op is not centred.
        deviation: The view's shape: c = x - mean.
        variance: Slice shape: v, the mean (or sum) of squared deviations.
        root: Slice shape: r, one over the denominator.
        stretch: Slice shape: the factor of the statistics' gradient (see `differentiate`).
        normalised: The view's shape: c * r.
        output: The view's shape: normalised * weight + bias.
        fixed: Whether mean and variance were given (evaluation mode) rather than computed.
    """

    x: Number
    mean: Number
    deviation: Number
    variance: Number
    root: Number
    stretch: Number
    normalised: Number
    output: Number
    fixed: bool


@dataclass(frozen=True, slots=True)
class Gradients(Generic[Number]):
    """Exact gradients of one piece, before any sum over pieces.

    Attributes:
        scaled: The view's shape: g = dy * weight.
        mean_scaled: Slice shape: mean of g; zero where it does not enter.
        mean_projected: Slice shape: mean (or sum) of g * normalised; zero where it does not enter.
        x: The view's shape: the gradient of the input.
        weight_terms: The view's shape: dy * normalised, to be summed.
    """

    scaled: Number
    mean_scaled: Number
    mean_projected: Number
    x: Number
    weight_terms: Number


def normalise(
    x: Number,
    reduction: Reduction,
    formula: Formula,
    weight: Number | None = None,
    bias: Number | None = None,
    fixed: tuple[Number, Number] | None = None,
    mask: Tensor | None = None,
) -> Forward[Number]:
    """Return every forward quantity.

    Args:
        x: Shape ``reduction.view``.
        reduction: Which axes are reduced, and how.
        formula: eps, its place, and whether weight is offset by one.
        weight: Broadcastable to the view, or None for one.
        bias: Broadcastable to the view, or None for zero.
        fixed: Mean and variance to use instead of the slice's own (evaluation mode).
        mask: Broadcastable to the view, float64: 1 where an element counts, and 0 where ``x`` is 0
            and does not; ``reduction.valid`` of them count in each slice.
    """
    if fixed is not None:
        mean, variance = fixed
        deviation = x - mean
    else:
        mean, deviation = _centre(x, reduction, mask)
        variance = (deviation * deviation).sum(dim=reduction.over, keepdim=True)
        if not reduction.summed:
            variance = variance / float(max(reduction.count - formula.freedom, 1))
    root, stretch = _reciprocal_root(variance, formula)
    normalised = deviation * root
    output = normalised
    if weight is not None:
        output = output * (weight + formula.weight_offset)
    if bias is not None:
        output = output + bias
    return Forward(
        x, mean, deviation, variance, root, stretch, normalised, output, fixed is not None
    )


def _centre(x: Number, reduction: Reduction, mask: Tensor | None = None) -> tuple[Number, Number]:
    count = float(reduction.count)
    mean = x.sum(dim=reduction.over, keepdim=True) / count
    if not reduction.centred:
        return mean * 0.0, x
    # One refinement: the sum of deviations from a rounded mean gives back what the mean lost.
    deviation = x - mean if mask is None else (x - mean) * mask
    mean = mean + deviation.sum(dim=reduction.over, keepdim=True) / count
    return mean, x - mean if mask is None else (x - mean) * mask


def _reciprocal_root(variance: Number, formula: Formula) -> tuple[Number, Number]:
    """Return r and the factor of the gradient through the statistics."""
    match formula.eps_place:
        case EpsPlace.INSIDE:
            root = (variance + formula.eps).sqrt().reciprocal()
            return root, variance * 0.0 + 1.0
        case EpsPlace.OUTSIDE:
            deviation = variance.sqrt()
            root = (deviation + formula.eps).reciprocal()
            # d r / d v = -r^2 / (2 sqrt v) is r^3 / 2 times (sqrt(v) + eps) / sqrt(v).
            return root, (root * deviation).reciprocal()
        case EpsPlace.FLOOR:
            norm = variance.sqrt()
            root = norm.clamp_min(formula.eps).reciprocal()
            return root, variance * 0.0 + (norm.double() > formula.eps).double()


def differentiate(
    forward: Forward[Number],
    dy: Number,
    reduction: Reduction,
    formula: Formula,
    weight: Number | None = None,
) -> Gradients[Number]:
    """Return the gradients of ``sum(dy * output)``.

    dx = r (g - mean g - s x^ mean(g x^)), without ``mean g`` where the op is not centred, without
    both means where the statistics are fixed, and with the sum in place of the second mean where v
    is a sum. ``s`` is `Forward.stretch`: 1 for eps inside the root.

    Args:
        forward: What `normalise` returned.
        dy: Shape of the view.
        reduction: As given to `normalise`.
        formula: As given to `normalise`.
        weight: As given to `normalise`.
    """
    scaled = dy if weight is None else dy * (weight + formula.weight_offset)
    none = forward.root * 0.0
    mean_scaled, mean_projected = none, none
    if not forward.fixed:
        count = float(reduction.count)
        mean_projected = (scaled * forward.normalised).sum(dim=reduction.over, keepdim=True)
        if not reduction.summed:
            mean_projected = mean_projected / count
        if reduction.centred:
            mean_scaled = scaled.sum(dim=reduction.over, keepdim=True) / count
    through_statistics = forward.normalised * (mean_projected * forward.stretch)
    dx = (scaled - mean_scaled - through_statistics) * forward.root
    return Gradients(scaled, mean_scaled, mean_projected, dx, dy * forward.normalised)
