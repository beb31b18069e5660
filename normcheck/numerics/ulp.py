"""Units in the last place: the unit in which errors are shown beside their budget.

For ``x`` in [2**e, 2**(e+1)) one ulp is 2**(e - p + 1), the spacing of a format of precision p in
that binade: Goldberg's definition, as in Muller, On the definition of ulp(x), INRIA RR-5504, 2005.
A correctly rounded result is within 0.5 ulp of the reference, whatever its magnitude.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from normcheck.numerics.formats import FloatFormat

__all__ = ["spacing", "ulp"]


def ulp(x: Tensor, fmt: FloatFormat) -> Tensor:
    """Return the spacing of ``fmt`` at each element of ``x``.

    Args:
        x: Any shape, float64. The values need not be representable in ``fmt``.
        fmt: The format whose spacing is measured.

    Returns:
        Shape of ``x``, float64. Constant below the smallest normal number, where underflow is
        gradual, and above the largest finite one.

    Raises:
        TypeError: ``x`` is not float64.
    """
    if x.dtype != torch.float64:
        raise TypeError(f"x has dtype {x.dtype}, but references are kept in torch.float64")
    # frexp gives zero the exponent of 0.5, so zero is sent to the bottom binade by hand.
    exponent = (torch.frexp(x).exponent - 1).where(x != 0, fmt.min_exponent)
    exponent = exponent.clamp(fmt.min_exponent, fmt.max_exponent)
    # exp2 of an integer is exact, but ldexp of one is exact by definition, subnormals included.
    return torch.ldexp(torch.ones_like(x), exponent - (fmt.precision - 1))


def spacing(x: float, fmt: FloatFormat) -> float:
    """Return the spacing of ``fmt`` at one number, as `ulp` does for a tensor."""
    exponent = math.frexp(x)[1] - 1 if x and math.isfinite(x) else fmt.min_exponent
    exponent = max(fmt.min_exponent, min(fmt.max_exponent, exponent))
    return math.ldexp(1.0, exponent - (fmt.precision - 1))
