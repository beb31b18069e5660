"""Reductions over trailing dimensions: the view is (rows, columns)."""

from __future__ import annotations

import math
from collections.abc import Callable

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import Settings

__all__ = ["over_trailing_dimensions"]


def over_trailing_dimensions(
    *, centred: bool, affine: bool = True, summed: bool = False
) -> Callable[[tuple[int, ...], Settings], Reduction]:
    """Return the reduction of the last ``settings.dims`` dimensions, affine over the same."""

    def reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
        split = len(shape) - settings.dims
        rows, columns = math.prod(shape[:split]), math.prod(shape[split:])
        parameters = (1, columns) if affine else ()
        return Reduction((rows, columns), (1,), parameters, centred=centred, summed=summed)

    return reduce
