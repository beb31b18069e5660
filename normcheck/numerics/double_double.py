"""Double-double arithmetic: unevaluated sums of two float64 tensors, about 106 bits.

Needed to judge float64 targets, whose own roundoff a float64 reference would share. Error-free
transformations after Dekker, "A floating-point technique for extending the available precision",
1971, and Knuth, TAOCP vol. 2, 4.2.2; the operations are those of Joldes, Muller, Popescu, "Tight
and rigorous error bounds for basic building blocks of double-word arithmetic", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DoubleDouble", "two_product", "two_sum"]

_SPLITTER = 134217729.0  # 2**27 + 1: Dekker's constant for 53 bits
_SMALL, _UP = 2.0**-900, 2.0**200


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``s`` and ``e`` with s = fl(a + b) and s + e = a + b exactly (Knuth)."""
    s = a + b
    shadow = s - a
    return s, (a - (s - shadow)) + (b - shadow)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``p`` and ``e`` with p = fl(a * b) and p + e = a * b exactly (Dekker, Veltkamp).

    Exact while neither the splitting (factors below 2**996) nor the error term (products above
    2**-969) leaves the format; of smaller products e is the error rounded to the smallest number.
    """
    p = a * b
    small = p.abs() < _SMALL
    if not bool(small.any()):
        return p, _product_error(a, b, p)
    # The terms of the error would each be rounded: take it of a product 2**200 times as large.
    first = a.abs() < b.abs()
    a_up = torch.where(small & first, a * _UP, a)
    b_up = torch.where(small & ~first, b * _UP, b)
    p_up = a_up * b_up
    e_up = _product_error(a_up, b_up, p_up)
    return p, torch.where(small, ((p_up - p * _UP) + e_up) / _UP, e_up)


def _product_error(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    a_hi = _SPLITTER * a
    a_hi = a_hi - (a_hi - a)
    b_hi = _SPLITTER * b
    b_hi = b_hi - (b_hi - b)
    a_lo, b_lo = a - a_hi, b - b_hi
    return ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


def _renormalise(hi: Tensor, lo: Tensor) -> DoubleDouble:
    s = hi + lo
    return DoubleDouble(s, lo - (s - hi))


@dataclass(frozen=True, slots=True)
class DoubleDouble:
    """The unevaluated sum ``hi + lo`` of two float64 tensors of one shape, |lo| <= ulp(hi)/2.

    It has the operators and the few tensor methods that the reference formulas use, so that they
    are written once for float64 and for double-double.
    """

    hi: Tensor
    lo: Tensor

    @classmethod
    def of(cls, x: Tensor) -> DoubleDouble:
        """Represent the float64 tensor ``x`` exactly."""
        return cls(x, torch.zeros_like(x))

    def __add__(self, other: DoubleDouble | Tensor | float) -> DoubleDouble:
        y = self._coerce(other)
        s, e = two_sum(self.hi, y.hi)
        t, f = two_sum(self.lo, y.lo)
        once = _renormalise(s, e + t)
        return _renormalise(once.hi, once.lo + f)

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __sub__(self, other: DoubleDouble | Tensor | float) -> DoubleDouble:
        return self + -self._coerce(other)

    def __mul__(self, other: DoubleDouble | Tensor | float) -> DoubleDouble:
        y = self._coerce(other)
        p, e = two_product(self.hi, y.hi)
        return _renormalise(p, e + (self.hi * y.lo + self.lo * y.hi))

    def __truediv__(self, other: DoubleDouble | Tensor | float) -> DoubleDouble:
        y = self._coerce(other)
        first = self.hi / y.hi
        second = (self - y * first).hi / y.hi
        rest = self - y * first - y * second
        s = _renormalise(first, second)
        # 0/0 and division by an infinity have no meaningful correction.
        third = torch.nan_to_num(rest.hi / y.hi, nan=0.0, posinf=0.0, neginf=0.0)
        return s + third

    def _coerce(self, other: DoubleDouble | Tensor | float) -> DoubleDouble:
        if isinstance(other, DoubleDouble):
            return other
        return DoubleDouble.of(torch.as_tensor(other, dtype=torch.float64))

    def sqrt(self) -> DoubleDouble:
        """Square root: one Newton step in double-double on the float64 root."""
        root = self.hi.sqrt()
        safe = torch.where(root > 0, root, 1.0)
        correction = (self - DoubleDouble.of(safe) * safe).hi / (2.0 * safe)
        refined = _renormalise(safe, correction)
        positive = root > 0
        return DoubleDouble(
            torch.where(positive, refined.hi, root),
            torch.where(positive, refined.lo, torch.zeros_like(root)),
        )

    def sum(self, dim: tuple[int, ...], keepdim: bool = True) -> DoubleDouble:
        """Sum over ``dim`` by halving: log2(n) double-double additions deep."""
        kept = [axis for axis in range(self.hi.dim()) if axis not in dim]
        order = [*kept, *dim]
        outer = [self.hi.shape[axis] for axis in kept]
        count = math.prod(self.hi.shape[axis] for axis in dim)
        part = self._map(lambda t: t.permute(order).reshape(*outer, count))
        while (n := part.hi.shape[-1]) > 1:
            half = n // 2
            folded = part._narrow(0, half) + part._narrow(half, half)
            part = folded if n % 2 == 0 else folded._join(part._narrow(n - 1, 1))
        if part.hi.shape[-1] == 0:
            zero = torch.zeros((*outer, 1), dtype=torch.float64)
            part = DoubleDouble(zero, zero)
        if not keepdim:
            return part._map(lambda t: t.reshape(outer))
        shape = [1 if axis in dim else self.hi.shape[axis] for axis in range(self.hi.dim())]
        return part._map(lambda t: t.reshape(shape))

    def _map(self, change: Callable[[Tensor], Tensor]) -> DoubleDouble:
        return DoubleDouble(change(self.hi), change(self.lo))

    def _narrow(self, start: int, length: int) -> DoubleDouble:
        return self._map(lambda t: t.narrow(-1, start, length))

    def _join(self, other: DoubleDouble) -> DoubleDouble:
        return DoubleDouble(
            torch.cat([self.hi, other.hi], dim=-1), torch.cat([self.lo, other.lo], dim=-1)
        )

    def abs(self) -> DoubleDouble:
        """Absolute value."""
        flip = self.hi < 0
        return DoubleDouble(
            torch.where(flip, -self.hi, self.hi), torch.where(flip, -self.lo, self.lo)
        )

    def clamp_min(self, value: float) -> DoubleDouble:
        """Maximum with a float64 number."""
        below = (self.hi < value) | ((self.hi == value) & (self.lo < 0))
        return DoubleDouble(torch.where(below, value, self.hi), torch.where(below, 0.0, self.lo))

    def reciprocal(self) -> DoubleDouble:
        """One over each element."""
        return DoubleDouble.of(torch.ones_like(self.hi)) / self

    def reshape(self, *shape: int) -> DoubleDouble:
        """Reshape both parts."""
        return DoubleDouble(self.hi.reshape(shape), self.lo.reshape(shape))

    def double(self) -> Tensor:
        """Round to float64."""
        return self.hi + self.lo
