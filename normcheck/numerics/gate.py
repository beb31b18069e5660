"""The SiLU gate: s = z sigma(z) and its slope, exactly and with the budget of a correct one.

Rule G of docs/budgets.md, relative to each value: an exponential of 2 ulp is off by 4u, and by
2|z|u more where it is a power of two of z log2(e), a constant and a product that are both rounded;
one plus it by u; the quotient, of 2 ulp, by 4u; the product with z by u. An error t of exp(-z)
enters sigma as t sigma(-z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat

__all__ = ["Gate", "exponential"]

_LN2 = DoubleDouble(
    torch.tensor(0.6931471805599453, dtype=torch.float64),
    torch.tensor(2.3190468138462996e-17, dtype=torch.float64),
)
# r / 2**9 is below 7e-4: nine terms of the series reach 2**-112, and nine squarings cost nine bits.
_HALVINGS, _TERMS = 9, 9
# Products of double-doubles are exact above 2**-969; sigma(-600) is near 2**-866.
_DEEPEST = 600.0


def exponential(x: DoubleDouble) -> DoubleDouble:
    """Return e^x for -600 <= x <= 0 to a relative error of 2**-92."""
    count = (x.hi / math.log(2.0)).round()
    rest = (x - _LN2 * count) * 2.0**-_HALVINGS
    total = rest * 0.0 + 1.0
    for term in range(_TERMS, 0, -1):
        total = total * rest / float(term) + 1.0
    for _ in range(_HALVINGS):
        total = total * total
    scale = torch.ldexp(torch.ones_like(count), count.to(torch.int64))
    return DoubleDouble(total.hi * scale, total.lo * scale)


def _wide(z: Tensor) -> tuple[DoubleDouble, DoubleDouble]:
    """Return s and its slope in double-double."""
    small = exponential(DoubleDouble.of(-z.abs().clamp_max(_DEEPEST)))
    large = (small + 1.0).reciprocal()
    lower = small * large
    positive = z >= 0

    def chosen(first: DoubleDouble, second: DoubleDouble) -> DoubleDouble:
        return DoubleDouble(
            torch.where(positive, first.hi, second.hi), torch.where(positive, first.lo, second.lo)
        )

    sigma, other = chosen(large, lower), chosen(lower, large)
    return sigma * z, sigma * (other * z + 1.0)


@dataclass(frozen=True, slots=True)
class Gate:
    """One piece's gate; float64, the view's shape.

    Attributes:
        value: s = z sigma(z).
        slope: ds/dz = sigma(z) (1 + z sigma(-z)).
        value_error: How far a correct s may be off before it is rounded to a narrower format.
        slope_error: Likewise of the slope.
        size: |z|.
        wide_value: s in double-double, for float64 targets only.
        wide_slope: The slope in double-double, likewise.
    """

    value: Tensor
    slope: Tensor
    value_error: Tensor
    slope_error: Tensor
    size: Tensor
    wide_value: DoubleDouble | None = None
    wide_slope: DoubleDouble | None = None

    @classmethod
    def of(cls, z: Tensor, accumulation: FloatFormat, *, wide: bool, tiny: float) -> Gate:
        """Work out the gate of one piece.

        Args:
            z: Any shape, float64.
            accumulation: The format whose roundoff is granted.
            wide: Whether double-double values are needed.
            tiny: What one operation may lose below the normal numbers.
        """
        u, size = accumulation.unit_roundoff, z.abs()
        sigma, other = torch.sigmoid(z), torch.sigmoid(-z)
        value, slope = z * sigma, sigma * (1.0 + z * other)
        sigma_error = u * (5.0 + other * (4.0 + 2.0 * size))  # relative
        value_error = value.abs() * (sigma_error + u) + tiny * (1.0 + size)
        # 1 - sigma is one subtraction from a sigma that is off by its own error.
        other_error = sigma * sigma_error + u * other + tiny
        inner = 1.0 + size * other
        slope_error = sigma * (inner * (sigma_error + 4.0 * u) + size * other_error)
        slope_error = slope_error + tiny * (1.0 + size)
        # Where e^-z leaves the format its reciprocal is zero, and a quotient may be three
        # binades earlier: what is left of the gate may be zero too.
        lost = -z >= math.log(accumulation.largest / 8.0)
        value_error = torch.where(lost, value.abs() + value_error, value_error)
        # A slope with a term sigma^2 e^-z loses that term where the square underflows.
        squared = lost | (2.0 * z <= math.log(accumulation.smallest_normal))
        slope_error = torch.where(squared, sigma * inner + slope_error, slope_error)
        if not wide:
            return cls(value, slope, value_error, slope_error, size)
        precise, steep = _wide(z)
        return cls(precise.hi, steep.hi, value_error, slope_error, size, precise, steep)
