"""Queries and keys as one tensor (2, batch, tokens, heads, features): what is stacked, and how.

Both have the same number of heads: with grouped keys, judge each of the two as rms_norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from normcheck.numerics.reduction import Reduction
from normcheck.ops.op import Settings

__all__ = ["PARTS", "pair_shape", "reduction_of_pairs", "vectors"]

PARTS = (
    ("x", ("q", "k")),
    ("weight", ("q_weight", "k_weight")),
    ("bias", ("q_bias", "k_bias")),
    ("y", ("q_out", "k_out")),
)
_MOST_HEADS = 8


def pair_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (2, batch, tokens, heads, features) with about as many elements as ``shape``.

    Anything but five dimensions that begin with 2 is taken as rows of features: half of the rows
    become queries and half keys, shared out over the largest fitting number of heads.
    """
    if len(shape) == 5 and shape[0] == 2:
        return shape
    rows, features = (math.prod(shape[:-1]) + 1) // 2, shape[-1]
    heads = max((n for n in range(1, _MOST_HEADS + 1) if rows % n == 0), default=1)
    batch = 2 if (rows // heads) % 2 == 0 and rows else 1
    return (2, batch, rows // heads // batch, heads, features)


def reduction_of_pairs(
    *, centred: bool, affine: bool = True, summed: bool = False
) -> Callable[[tuple[int, ...], Settings], Reduction]:
    """Return the reduction of the features of every head: view (2, heads in all, features)."""

    def reduce(shape: tuple[int, ...], settings: Settings) -> Reduction:
        view = (2, math.prod(shape[1:-1]), shape[-1])
        parameters = (2, 1, shape[-1]) if affine else ()
        return Reduction(view, (2,), parameters, centred=centred, summed=summed)

    return reduce


def vectors(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a stacked weight: one vector of features for queries, one for keys."""
    return (2, shape[-1])
