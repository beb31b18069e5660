"""The binary floating-point formats that targets read and write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

__all__ = ["BY_NAME", "FloatFormat"]

BY_NAME = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format with gradual underflow and infinities.

    Attributes:
        dtype: The torch dtype that stores the format.
        precision: Significand length p in bits, hidden bit included.
        min_exponent: Exponent of the smallest normal number.
        max_exponent: Exponent of the largest finite number.
    """

    dtype: torch.dtype
    precision: int
    min_exponent: int
    max_exponent: int

    @classmethod
    def of(cls, dtype: torch.dtype) -> FloatFormat:
        """Read the format off ``torch.finfo``.

        Raises:
            ValueError: ``dtype`` is not one of the four formats that are judged.
        """
        if dtype not in BY_NAME.values():
            raise ValueError(f"dtype is {dtype}, but must be one of {', '.join(BY_NAME)}")
        info = torch.finfo(dtype)
        ulp_of_one, smallest, largest = (
            math.frexp(v)[1] - 1 for v in (info.eps, info.smallest_normal, info.max)
        )
        return cls(dtype, 1 - ulp_of_one, smallest, largest)

    @cached_property
    def unit_roundoff(self) -> float:
        """Largest relative error of rounding a normal number to nearest: u = 2**-p."""
        return 2.0**-self.precision

    @cached_property
    def largest(self) -> float:
        """Largest finite number."""
        return float(torch.finfo(self.dtype).max)

    @cached_property
    def smallest_normal(self) -> float:
        """Smallest positive normal number."""
        return math.ldexp(1.0, self.min_exponent)

    @cached_property
    def smallest_subnormal(self) -> float:
        """Smallest positive number, and the spacing below the smallest normal number."""
        return math.ldexp(1.0, self.min_exponent - (self.precision - 1))

    @property
    def square_limit(self) -> float:
        """Largest sum of squares that is judged when accumulated in this format.

        Half of the largest number. In float64 the double-double reference gives out first: its
        products split factors exactly only below 2**996.
        """
        return 2.0**960 if self.dtype == torch.float64 else self.largest / 2.0

    @property
    def accumulation(self) -> FloatFormat:
        """The format in which a contract lets a target accumulate: float32, float64 for float64."""
        return FloatFormat.of(torch.float64 if self.dtype == torch.float64 else torch.float32)
