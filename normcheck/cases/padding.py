"""Which positions of a padded batch count, and what stands at those that do not."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.cases.generator import hashes, key_of
from normcheck.numerics.formats import FloatFormat

__all__ = ["garbage", "valid_positions"]


def valid_positions(samples: int, length: int, seed: int) -> Tensor:
    """Return a mask (samples, length), bool, in which a position of the first sample is true.

    Even seeds pad sequences of different lengths at their end, empty ones among them; odd seeds
    scatter: what reads a length off the mask is right on the first kind only.
    """
    key = key_of("mask", seed)
    if seed % 2:
        mask = (hashes(samples * length, key) % 4 != 0).reshape(samples, length)
    else:
        lengths = hashes(samples, key) % (length + 1)
        if samples:
            lengths[0] = length
        mask = torch.arange(length) < lengths[:, None]
    if mask.numel():
        mask[0, 0] = True
    return mask


def garbage(count: int, seed: int, fmt: FloatFormat) -> Tensor:
    """Return finite values, float64, that no sum survives: thousands of both signs, some huge.

    Squares of the largest stay inside float32: who multiplies them by zero gets zero.
    """
    draws = hashes(count, key_of("garbage", seed))
    value = torch.where(draws & 1 == 0, 3000.0, -1000.0) * (1.0 + (draws >> 16).double() / 65536)
    return torch.where(draws % 7 == 3, min(fmt.largest / 4.0, 2.0**40), value)
