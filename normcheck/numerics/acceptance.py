"""Which computed values are accepted: the roundings of what lies within the budget.

An element is accepted iff it is the rounding of some real number in [y - delta, y + delta], so no
absolute or relative tolerance is ever chosen: in bfloat16 one or two candidates are left. A
rounding policy is pushed through this interval, both ends rounded the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_sum, round_to
from normcheck.numerics.ulp import ulp

__all__ = ["RATIO_CAP", "Interval", "around", "error_ratio", "rounded_product", "rounded_sum"]

# A NaN, an infinity or an error beyond all measure: ratios are capped here, so that a record
# holds numbers that JSON can carry.
RATIO_CAP = 1e12


@dataclass(frozen=True, slots=True)
class Interval:
    """The accepted values: numbers of one format, float64, lower <= upper."""

    lower: Tensor
    upper: Tensor

    def rounded(self, fmt: FloatFormat) -> Interval:
        """Round both ends to ``fmt``."""
        return Interval(round_to(self.lower, fmt), round_to(self.upper, fmt))

    def widened(self, delta: Tensor) -> Interval:
        """Move both ends outwards by ``delta``."""
        return Interval(self.lower - delta, self.upper + delta)


def around(exact: Tensor | DoubleDouble, delta: Tensor, fmt: FloatFormat) -> Interval:
    """Return [rnd(y - delta), rnd(y + delta)]: the policy ``fused``, one rounding at the end."""
    if isinstance(exact, DoubleDouble):
        return Interval(
            round_sum(exact.hi, exact.lo - delta, fmt), round_sum(exact.hi, exact.lo + delta, fmt)
        )
    return Interval(round_to(exact - delta, fmt), round_to(exact + delta, fmt))


def rounded_product(factor: Interval, other: Tensor) -> Interval:
    """Multiply both ends by a number and put them in order."""
    first, second = factor.lower * other, factor.upper * other
    return Interval(torch.minimum(first, second), torch.maximum(first, second))


def rounded_sum(term: Interval, other: Tensor) -> Interval:
    """Add a number to both ends."""
    return Interval(term.lower + other, term.upper + other)


def error_ratio(
    computed: Tensor, exact: Tensor | DoubleDouble, accepted: Interval, fmt: FloatFormat
) -> Tensor:
    """Return error over budget: above 1 exactly where ``computed`` is not accepted.

    Args:
        computed: Any shape, float64: what the target returned, converted exactly.
        exact: Same shape: the exact result.
        accepted: The accepted values.
        fmt: The format of the output.

    Returns:
        Same shape, float64, in [0, RATIO_CAP]. The budget is the distance from the exact result
        to the farther end of the interval, and at least half an ulp: what correct rounding alone
        may cost. Without that floor a result next to a representable number would have next to no
        budget, and one wrong rounding would count as a million.
    """
    if isinstance(exact, DoubleDouble):
        error = (computed - exact.hi) - exact.lo
        above = (accepted.upper - exact.hi) - exact.lo
        below = (exact.hi - accepted.lower) + exact.lo
    else:
        error = computed - exact
        above, below = accepted.upper - exact, exact - accepted.lower
    half_ulp = 0.5 * ulp(exact.double(), fmt)
    room = torch.maximum(torch.maximum(above, below), half_ulp)
    ratio = (error.abs() / room).nan_to_num(nan=0.0, posinf=RATIO_CAP).clamp_max(RATIO_CAP)
    inside = (computed >= accepted.lower) & (computed <= accepted.upper)
    outside = ratio.clamp_min(math.nextafter(1.0, 2.0))
    outside = torch.where(computed.isfinite(), outside, RATIO_CAP)
    return torch.where(inside, ratio.clamp_max(1.0), outside)
