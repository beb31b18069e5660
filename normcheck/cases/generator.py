"""Random values that are the same bits on every machine.

A counter-based hash of 32-bit integers, and correctly rounded float64 operations on top: no libm,
no device generator, no state. The hash is two rounds of xor-shift-multiply with the multiplier
0x45d9f3b, modulo 2**32, in NumPy's unsigned integers, which wrap by definition. The sum of four
uniform 16-bit numbers (Irwin-Hall) serves as the bell curve.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["hashes", "key_of", "normals"]

_MASK = 0xFFFFFFFF
_MULTIPLIER = np.uint32(0x45D9F3B)
# Mean and standard deviation of a sum of four uniform numbers in 0..65535.
_CENTRE, _SPREAD = 131070.0, 37837.2


def key_of(*parts: object) -> int:
    """Return a 32-bit key for a named stream."""
    return zlib.crc32("/".join(map(str, parts)).encode())


def _hashes(count: int, key: int) -> NDArray[np.uint32]:
    z = np.arange(count, dtype=np.uint32)
    z += np.uint32(key & _MASK)
    # The stream's key enters once more between the rounds: streams whose counters overlap differ.
    for salt in (0, key & _MASK):
        z ^= z >> np.uint32(16)
        z ^= np.uint32(salt)
        z *= _MULTIPLIER
        z ^= z >> np.uint32(15)
        z *= _MULTIPLIER
    z ^= z >> np.uint32(16)
    return z


def hashes(count: int, key: int) -> Tensor:
    """Return ``count`` well-mixed 32-bit integers, int64, of the stream ``key``."""
    return torch.from_numpy(_hashes(count, key).astype(np.int64))


def normals(count: int, key: int) -> Tensor:
    """Return ``count`` numbers of mean 0 and variance 1, float64, |value| <= 3.4642."""
    first, second = _hashes(count, key), _hashes(count, key ^ 0x5BD1E995)
    low = np.uint32(0xFFFF)
    total = (first & low) + (first >> np.uint32(16)) + (second & low) + (second >> np.uint32(16))
    return (torch.from_numpy(total.astype(np.float64)) - _CENTRE) / _SPREAD
