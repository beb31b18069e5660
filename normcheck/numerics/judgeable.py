"""What can be judged at all: where a budget has power, and no square or cube leaves its format."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import Formula, Reduction
from normcheck.numerics.reference import Forward

__all__ = ["POWER_LIMIT", "at_the_kink", "cubes_in_range", "has_power", "squares_in_range"]

# A budget on the normalised value above this share of its size accepts answers without one
# correct digit: the case then has no power to tell right from wrong.
POWER_LIMIT = 0.1


def has_power(normalised: Tensor, forward: Forward[Tensor], reduction: Reduction) -> Tensor:
    """Whether the budget of the normalised value can tell right from wrong, slice by slice."""
    if normalised.numel() == 0:
        return torch.zeros(reduction.slices, dtype=torch.bool)
    size = forward.normalised.abs().amax(reduction.over, keepdim=True).clamp_min(1.0)
    worst = normalised.amax(reduction.over, keepdim=True)
    power: Tensor = worst <= POWER_LIMIT * size
    return power.expand(reduction.slices)


def squares_in_range(
    magnitude: Tensor, forward: Forward[Tensor], reduction: Reduction, accumulation: FloatFormat
) -> Tensor:
    """Whether squares, and their sum, stay inside the accumulation format, slice by slice."""
    if magnitude.numel() == 0 or forward.fixed:
        return torch.ones(reduction.slices, dtype=torch.bool)
    largest = magnitude.amax(reduction.over, keepdim=True)
    # Deviations reach twice the largest magnitude, and n of their squares are added.
    squares = (2.0 if reduction.centred else 1.0) * largest
    limit = (accumulation.square_limit / reduction.count) ** 0.5
    inside: Tensor = squares <= limit
    return inside


def at_the_kink(forward: Forward[Tensor], allowed: Tensor, formula: Formula, u: float) -> Tensor:
    """Whether the norm may lie on either side of its floor, where the gradient jumps."""
    low = (forward.variance - allowed).clamp_min(0.0).sqrt()
    high = (forward.variance + allowed).sqrt()
    kink: Tensor = (low <= formula.eps * (1 + 4 * u)) & (high >= formula.eps * (1 - 4 * u))
    return kink


def cubes_in_range(
    forward: Forward[Tensor], reduction: Reduction, accumulation: FloatFormat
) -> Tensor:
    """Whether r^3 / n, which most backward passes form, neither overflows nor loses bits."""
    if forward.fixed:
        return torch.ones_like(forward.root, dtype=torch.bool)
    largest = accumulation.square_limit ** (1.0 / 3.0) / 4.0
    smallest = 4.0 * (accumulation.smallest_normal * max(reduction.count, 1)) ** (1.0 / 3.0)
    inside: Tensor = (forward.root <= largest) & (forward.root >= smallest)
    return inside
