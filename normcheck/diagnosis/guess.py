"""What a target would have returned if one thing about it were different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from normcheck.numerics.reduction import EpsPlace, Formula, Reduction
from normcheck.numerics.reference import Forward

if TYPE_CHECKING:
    from normcheck.diagnosis.scene import Scene

__all__ = ["KEPT", "Guess", "Hypothesis", "guessed", "root_of"]

KEPT = object()
"""Stands for a parameter that is as the caller passed it."""


@dataclass(frozen=True, slots=True)
class Guess:
    """An output, in steps.

    Attributes:
        forward: Every quantity up to the output, float64.
        weight: The factor that was applied, or None.
        bias: What was added, or None.
        free: Bool, broadcastable to the view: elements about which the guess says nothing.
        ends: Smallest and largest output before rounding, where a step of it is itself rounded.
        told: Elements (the view's shape, bool) and their values, whatever the rest gives.
        truncated: Whether the output is cut instead of rounded.
        centred: Whether statistics are centred although the op's are not.
    """

    forward: Forward[Tensor]
    weight: Tensor | None
    bias: Tensor | None
    free: Tensor
    ends: tuple[Tensor, Tensor] | None = None
    told: tuple[Tensor, Tensor] | None = None
    truncated: bool = False
    centred: bool = False


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a target may have done instead.

    Attributes:
        kind: Its class, ``K01`` to ``K40``; "" for a convention that can be declared.
        text: The cause in words.
        guess: What it says about a case; None where it cannot be.
        cost: How much it leaves open: 0 for a formula, 1 for one with a number out of a list, 2
            for one with a number read off the output, 3 for weaker arithmetic, which explains much.
    """

    kind: str
    text: str
    guess: Callable[[Scene], Guess | None]
    cost: int = 0


def root_of(variance: Tensor, formula: Formula, eps: float | Tensor | None = None) -> Tensor:
    """Return one over the denominator, for another eps if one is given."""
    eps = formula.eps if eps is None else eps
    match formula.eps_place:
        case EpsPlace.INSIDE:
            return (variance + eps).rsqrt()
        case EpsPlace.OUTSIDE:
            return (variance.sqrt() + eps).reciprocal()
        case EpsPlace.FLOOR:
            return torch.maximum(variance.sqrt(), torch.as_tensor(eps).double()).reciprocal()


def guessed(
    exact: Forward[Tensor], formula: Formula, own_weight: Tensor | None, own_bias: Tensor | None,
    reduction: Reduction, *, x: Tensor | None = None, mean: Tensor | None = None,
    variance: Tensor | None = None, root: Tensor | None = None, normalised: Tensor | None = None,
    weight: object = KEPT, bias: object = KEPT, output: Tensor | None = None,
) -> Guess:  # fmt: skip
    """Return the output if some quantities are others; what follows from them follows.

    Args:
        exact: The exact quantities.
        formula: The declared function.
        own_weight: The factor that the caller passed, the offset included.
        own_bias: What the caller passed.
        reduction: Which axes are reduced.
        x: What is normalised, with its own statistics.
        mean: Broadcastable to the view.
        variance: Likewise.
        root: Likewise.
        normalised: The view's shape.
        weight: None for one.
        bias: None for zero.
        output: The view's shape.
    """
    w = own_weight if weight is KEPT else weight
    b = own_bias if bias is KEPT else bias
    assert w is None or isinstance(w, Tensor)
    assert b is None or isinstance(b, Tensor)
    forward = exact if x is None else _normalised(x, exact, reduction, formula)
    forward = _replaced(forward, formula, mean, variance, root)
    value = forward.deviation * forward.root if normalised is None else normalised
    y = value if w is None else value * w
    y = y if b is None else y + b
    forward = replace(forward, normalised=value, output=y if output is None else output)
    return Guess(forward, w, b, torch.zeros((), dtype=torch.bool))


def _replaced(
    forward: Forward[Tensor],
    formula: Formula,
    mean: Tensor | None,
    variance: Tensor | None,
    root: Tensor | None,
) -> Forward[Tensor]:
    if mean is not None:
        forward = replace(forward, mean=mean, deviation=forward.x - mean)
    if variance is not None:
        forward = replace(forward, variance=variance, root=root_of(variance, formula))
    return forward if root is None else replace(forward, root=root)


def _normalised(
    x: Tensor, exact: Forward[Tensor], reduction: Reduction, formula: Formula
) -> Forward[Tensor]:
    if exact.fixed:
        return replace(exact, x=x, deviation=x - exact.mean)
    mean = x.mean(reduction.over, keepdim=True) if reduction.centred else exact.mean
    squares = (x - mean).square()
    total = squares.sum(reduction.over, keepdim=True)
    variance = total if reduction.summed else total / max(reduction.count, 1)
    root = root_of(variance, formula)
    return replace(exact, x=x, mean=mean, deviation=x - mean, variance=variance, root=root)
