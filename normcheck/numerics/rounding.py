"""Correct rounding of float64 values to a narrower format, ties to even.

``x.to(torch.bfloat16)`` on a float64 tensor goes through float32 and so rounds twice: 1 + 2**-8 +
2**-40 becomes 1 instead of 1 + 2**-7. Everything here rounds once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from normcheck.numerics.formats import FloatFormat

__all__ = ["round_sum", "round_to"]


def round_to(x: Tensor, fmt: FloatFormat) -> Tensor:
    """Round each element to the nearest number of ``fmt``, ties to even, once.

    Args:
        x: Any shape, float64.
        fmt: The format to round to.

    Returns:
        Shape of ``x``, float64, every element a number of ``fmt``, an infinity or NaN.

    Raises:
        TypeError: ``x`` is not float64.
    """
    if x.dtype != torch.float64:
        raise TypeError(f"x has dtype {x.dtype}, but references are kept in torch.float64")
    if fmt.dtype == torch.float64:
        return x
    if fmt.dtype == torch.float32:
        return x.float().double()
    return _round_significand(x, fmt)


def _round_significand(x: Tensor, fmt: FloatFormat) -> Tensor:
    """Round the float64 significand to the precision of ``fmt`` on the bits themselves."""
    dropped = 53 - fmt.precision
    bits = x.contiguous().view(torch.int64)
    # Adding half a unit, less one when the kept part is even, carries into the kept bits exactly
    # when nearest-even rounds away from zero; a carry out of the significand moves the exponent.
    odd = (bits >> dropped) & 1
    rounded = ((bits + odd + ((1 << (dropped - 1)) - 1)) & -(1 << dropped)).view(torch.float64)
    # Below the smallest normal number the spacing is constant. The sum with 1.5 * 2**52 spacings
    # is rounded by the float64 addition itself to a whole number of them.
    anchor = math.ldexp(1.5, 52 + fmt.min_exponent - (fmt.precision - 1))
    rounded = torch.where(x.abs() < fmt.smallest_normal, (x + anchor) - anchor, rounded)
    rounded = torch.where(rounded.abs() > fmt.largest, torch.copysign(_INFINITY, x), rounded)
    # An addition on the bits of a NaN or an infinity is meaningless. The subnormal branch loses
    # the sign of a zero, which no budget here distinguishes.
    return torch.where(x.isfinite(), rounded, x)


_INFINITY = torch.tensor(math.inf, dtype=torch.float64)


def round_sum(hi: Tensor, lo: Tensor, fmt: FloatFormat) -> Tensor:
    """Round the unevaluated sum ``hi + lo`` to ``fmt``.

    Args:
        hi: Any shape, float64.
        lo: Same shape, float64, small beside ``hi``.
        fmt: The format to round to.

    Returns:
        Same shape, float64. For float64 the addition is the rounding. For narrower formats the sum
        is first formed in float64, at least 29 bits wider; an error budget absorbs its roundoff.
    """
    return round_to(hi + lo, fmt)
