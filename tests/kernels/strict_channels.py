"""Mode "strict" of group and batch norm in NumPy, from docs/kernels.md alone.

Values are (slices, lines, elements of a line); see there how slices are cut and summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tests.kernels.strict_model import Norm, factor_of, power, rounded, tree, wide

__all__ = ["Channels", "backward", "forward"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Channels:
    """How x is cut: groups, 0 for a batch's channels; last where channels are neighbours."""

    groups: int
    last: bool

    def cut(self, x: Array) -> Array:
        """Return x, (samples, channels, positions), as slices."""
        samples, channels, positions = x.shape
        if not self.groups:
            found = x.transpose(1, 0, 2)
            return found.reshape(channels, 1, samples) if positions == 1 else found
        found = x.reshape(samples * self.groups, channels // self.groups, positions)
        return found.transpose(0, 2, 1) if self._turned(x) else found

    def joined(self, values: Array, like: Array) -> Array:
        """Undo `cut`."""
        samples, channels, positions = like.shape
        if not self.groups:
            return values.reshape(channels, samples, positions).transpose(1, 0, 2)
        found = values.transpose(0, 2, 1) if self._turned(like) else values
        return found.reshape(like.shape)

    def _turned(self, x: Array) -> bool:
        deep = x.shape[1] // self.groups
        return deep > 1 and (self.last or x.shape[2] == 1)

    def tiles(self, x: Array) -> Array:
        """Return (slices, tiles, elements of a tile), padded with zeros."""
        values = self.cut(x)
        _, lines, along = values.shape
        tall, wide_ = power(lines), power(along)
        neighbours = (self.last or x.shape[2] == 1) and along > 1
        neighbours &= not self.groups or x.shape[1] == self.groups
        turned = bool(self.groups) and self._turned(x)
        most = 512 if neighbours else 8192 if turned or x.dtype == np.float64 else 16384
        if tall * wide_ > most:
            wide_ = min(wide_, 512 if neighbours else 1024)
            tall = min(tall, (512 if neighbours else 1024) // wide_)
        down, across = -(-lines // tall), -(-along // wide_)
        space = [(0, 0), (0, down * tall - lines), (0, across * wide_ - along)]
        padded = np.pad(values, space).reshape(-1, down, tall, across, wide_)
        return padded.transpose(0, 1, 3, 2, 4).reshape(len(values), down * across, tall * wide_)

    def per_element(self, parameter: Array, x: Array) -> Array:
        """Return a number per channel as one per element of the slices."""
        return self.cut(np.broadcast_to(parameter[:, None], x.shape))


def _blocks(values: Array) -> Array:
    """Sum the last axis: blocks as neighbours, one after the other."""
    total = np.zeros(values.shape[:-1], values.dtype)
    size = min(power(values.shape[-1]), 1024)
    for start in range(0, values.shape[-1], size):
        block = values[..., start : start + size]
        missing = size - block.shape[-1]
        block = np.pad(block, [(0, 0)] * (block.ndim - 1) + [(0, missing)])
        total = total + tree(block)
    return total


def _statistics(channels: Channels, x: Array) -> tuple[Array, Array]:
    """Return per slice its mean, and the sum of squares about it."""
    tiles, held = channels.tiles(x), channels.tiles(np.ones_like(x))
    number = x.dtype.type
    length = number(x.size // len(tiles))
    if tiles.shape[1] == 1:
        mean = tree(tiles[:, 0]) / length
        away = np.where(held[:, 0] > 0, tiles[:, 0] - mean[:, None], number(0))
        return mean, tree(away * away)
    sums, counts = tree(tiles), held.sum(-1)
    away = np.where(held > 0, tiles - (sums / counts)[..., None], number(0))
    squares = tree(away * away)
    mean = _blocks(sums) / length
    apart = sums / counts - mean[:, None]
    return mean, _blocks(squares + counts * apart * apart)


def forward(
    norm: Norm, channels: Channels, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    given: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Array, Array, Array]:  # fmt: skip
    """Return y, and per slice mean, 1/root and variance of n - 1; x is (samples, channels, *)."""
    values = wide(x.reshape(*x.shape[:2], -1))
    number = values.dtype.type
    if given is None:
        mean, square = _statistics(channels, values)
        length = number(values.size // len(mean))
        variance = square / length
        with np.errstate(divide="ignore", invalid="ignore"):
            unbiased = square / (length - number(1))
    else:
        mean, variance = (wide(each).astype(values.dtype) for each in given)
        unbiased = variance
    root = number(1) / np.sqrt(variance + number(norm.eps))
    result = (channels.cut(values) - mean[:, None, None]) * root[:, None, None]
    if norm.cast:
        result = wide(rounded(result, x.dtype))
    if weight is not None:
        result = result * channels.per_element(factor_of(norm, weight, values), values)
    if bias is not None:
        result = result + channels.per_element(wide(bias).astype(values.dtype), values)
    y = rounded(channels.joined(result, values), x.dtype).reshape(x.shape)
    return y, mean, root, unbiased


def backward(
    norm: Norm, channels: Channels, dy: Tensor, x: Tensor, weight: Tensor | None, mean: Array,
    root: Array, *, fixed: bool = False,
) -> tuple[Tensor, Array, Array]:  # fmt: skip
    """Return dx, and dweight and dbias before they are rounded."""
    values, given = (wide(each.reshape(*x.shape[:2], -1)) for each in (x, dy))
    number, count = values.dtype.type, values.shape[1]
    # Per channel of a sample, or of the batch.
    fine = Channels(count if channels.groups else 0, channels.last)
    deep = count // channels.groups if channels.groups else 1
    normalised = (channels.cut(values) - mean[:, None, None]) * root[:, None, None]
    terms = tree(fine.tiles(given))
    products = tree(fine.tiles(given * channels.joined(normalised, values)))
    factor = np.ones(count, values.dtype)
    if weight is not None:
        factor = factor_of(norm, weight, values)
    result = channels.cut(given) * channels.per_element(factor, values)
    if not fixed:
        rows, length = len(mean), number(values.size // len(mean))
        per = np.tile(factor, len(terms) // count)[:, None]
        shift, projection = (
            _blocks((each * per).reshape(rows, -1)) / length for each in (terms, products)
        )
        result = result - shift[:, None, None] - normalised * projection[:, None, None]
    result = result * root[:, None, None]
    assert deep * len(mean) == len(terms)
    # A channel's terms, sample after sample.
    sums = [
        _blocks(each.reshape(-1, count, each.shape[1]).transpose(1, 0, 2).reshape(count, -1))
        for each in (products, terms)
    ]
    return rounded(channels.joined(result, values), x.dtype).reshape(x.shape), sums[0], sums[1]
