"""Mode "strict" in NumPy, from docs/kernels.md alone: the bits that every device has to return.

Neighbours are added, then neighbours of the sums, over a row padded with zeros to a power of two.
Arithmetic is in float32 (float64 for float64), one operation at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Norm", "backward", "factor_of", "forward", "power", "rounded", "tree", "wide"]

Array = NDArray[Any]
_TILE, _LONGEST, _LONG_ROWS, _PARTS = 4096, 8192, 4, 256


@dataclass(frozen=True)
class Norm:
    """What is computed: kind is layer, rms or l2."""

    kind: str
    eps: float
    one_plus: bool = False
    cast: bool = False


def power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def tree(values: Array) -> Array:
    """Sum the last axis by neighbours."""
    missing = power(values.shape[-1]) - values.shape[-1]
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    while values.shape[-1] > 1:
        values = values[..., ::2] + values[..., 1::2]
    return values[..., 0]


def wide(tensor: Tensor) -> Array:
    kept = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    found: Array = tensor.to(kept).numpy()
    return found


def rounded(values: Array, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype)


def factor_of(norm: Norm, weight: Tensor, like: Array) -> Array:
    factor = weight.numpy(force=True) if weight.dtype != torch.bfloat16 else wide(weight)
    factor = factor.astype(like.dtype)
    return factor + like.dtype.type(1) if norm.one_plus else factor


def forward(
    norm: Norm,
    x: Tensor,
    residual: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Array, Array]:
    """Return y, what was normalised, and each row's mean and 1/root; x is (rows, columns)."""
    total = x
    if residual is not None:
        total = rounded(wide(x) + wide(residual), x.dtype)
    values = wide(total)
    number, count = values.dtype.type, values.dtype.type(x.shape[1])
    mean = tree(values) / count if norm.kind == "layer" else np.zeros(len(values), values.dtype)
    if norm.kind == "layer":
        values = values - mean[:, None]
    square = tree(values * values)
    if norm.kind == "l2":
        root = number(1) / np.maximum(np.sqrt(square), number(norm.eps))
    else:
        root = number(1) / np.sqrt(square / count + number(norm.eps))
    result = values * root[:, None]
    if norm.cast:
        result = wide(rounded(result, x.dtype))
    if weight is not None:
        result = result * factor_of(norm, weight, result)
    if bias is not None:
        result = result + wide(bias).astype(result.dtype)
    return rounded(result, x.dtype), total, mean, root


def backward(
    norm: Norm,
    dy: Tensor,
    total: Tensor,
    weight: Tensor | None,
    mean: Array,
    root: Array,
    dtotal: Tensor | None = None,
) -> tuple[Tensor, Array, Array]:
    """Return dx, and dweight and dbias before they are rounded."""
    given, values = wide(dy), wide(total)
    count = values.dtype.type(total.shape[1])
    if norm.kind == "layer":
        values = values - mean[:, None]
    normalised = values * root[:, None]
    scaled = given if weight is None else given * factor_of(norm, weight, given)
    projection = tree(scaled * normalised)
    if norm.kind == "l2":
        at_most = values.dtype.type(1) / values.dtype.type(norm.eps)
        projection = np.where(root < at_most, projection, values.dtype.type(0))
    else:
        projection = projection / count
    result = scaled
    if norm.kind == "layer":
        result = result - (tree(scaled) / count)[:, None]
    result = (result - normalised * projection[:, None]) * root[:, None]
    if dtotal is not None:
        result = result + wide(dtotal)
    return rounded(result, total.dtype), _over_rows(given * normalised), _over_rows(given)


def _over_rows(terms: Array) -> Array:
    """Sum over rows: tiles one after the other, then the rows of a tile, then at most 256 parts."""
    rows, columns = terms.shape
    padded = power(columns)
    longest = _LONGEST // 2 if terms.dtype == np.float64 else _LONGEST
    whole = padded <= longest
    together = max(1, _TILE // padded) if whole else min(_LONG_ROWS, power(rows))
    tiles = -(-rows // (_PARTS * together))
    parts = -(-rows // (together * tiles))
    terms = np.pad(terms, [(0, parts * tiles * together - rows), (0, 0)])
    tile = terms.reshape(parts, tiles, together, columns)
    serial = np.zeros((parts, together, columns), terms.dtype)
    for index in range(tiles):
        serial = serial + tile[:, index]
    return tree(tree(serial.transpose(0, 2, 1)).T)
