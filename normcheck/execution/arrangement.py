"""Where the elements of a tensor lie in memory: strides, offsets, and what surrounds them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.errors import UsageError, nearest

__all__ = ["ARRANGEMENTS", "Arranged", "arrange", "as_given"]

_GUARD = 64
ARRANGEMENTS = {
    "contiguous": "contiguous",
    "strided": "every second element",
    "pitched": "rows further apart than they are long",
    "packed": "cut out of the last dimension but one, as queries out of a packed projection",
    "transposed": "the last two dimensions swapped in memory",
    "reversed": "dimensions in reverse order in memory (column-major)",
    "offset": "beginning at element 1 of its storage, so misaligned",
    "embedded": "between NaN: before, after and between rows",
    "expanded": "stride 0 along the first dimension",
    "channels_last": "channels last",
}


@dataclass(frozen=True, slots=True)
class Arranged:
    """A tensor, and the memory that it lies in.

    Attributes:
        tensor: What a target gets.
        base: All of its memory, one dimension; NaN outside the tensor.
    """

    tensor: Tensor
    base: Tensor

    def trespassed(self) -> bool:
        """Return whether memory outside the tensor has been written to."""
        if self.base.numel() == 0:
            return False  # only values were copied
        left = self.base.clone()
        left.as_strided(
            self.tensor.shape, self.tensor.stride(), self.tensor.storage_offset()
        ).fill_(math.nan)
        return not bool(left.isnan().all())


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Strides of a contiguous tensor."""
    found = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        found[axis] = found[axis + 1] * max(shape[axis + 1], 1)
    return found


def _permuted(shape: tuple[int, ...], order: list[int]) -> list[int]:
    """Strides of a tensor whose dimensions lie in memory in another order, the last one densest."""
    dense = _strides(tuple(shape[axis] for axis in order))
    return [dense[order.index(axis)] for axis in range(len(shape))]


def _layout(shape: tuple[int, ...], how: str) -> list[int]:
    rank = len(shape)
    axes = list(range(rank))
    match how:
        case "strided":
            return [2 * stride for stride in _strides(shape)]
        case "pitched" | "embedded" if rank:
            return _strides((*shape[:-1], shape[-1] + 8 if how == "embedded" else shape[-1] + 3))
        case "packed" if rank > 2:
            return _strides((*shape[:-2], shape[-2] + 2, shape[-1]))
        case "transposed" if rank > 1:
            return _permuted(shape, [*axes[:-2], axes[-1], axes[-2]])
        case "transposed" | "reversed" if rank == 1:
            return [2]
        case "reversed":
            return _permuted(shape, axes[::-1])
        case "channels_last" if rank > 2:
            return _permuted(shape, [0, *axes[2:], 1])
    return _strides(shape)


def arrange(tensor: Tensor, how: str, device: torch.device) -> Arranged:
    """Copy a tensor into memory of a layout.

    Args:
        tensor: Any shape; of a boolean or integer tensor only the values are copied.
        how: A key of `ARRANGEMENTS`. ``expanded`` repeats the first entry of the first dimension.
        device: Where to.

    Raises:
        UsageError: The layout is not known.
    """
    if how not in ARRANGEMENTS:
        raise UsageError(f"layout is {how!r}, but must be known{nearest(how, ARRANGEMENTS)}")
    if not tensor.is_floating_point() or tensor.numel() == 0:
        copied = tensor.clone().to(device)
        return Arranged(copied, torch.full((0,), math.nan))
    if how == "expanded" and tensor.dim():
        first = arrange(tensor[:1], "contiguous", device)
        return Arranged(first.tensor.expand(tensor.shape), first.base)
    before, after = {"offset": (1, 0), "embedded": (_GUARD, _GUARD)}.get(how, (0, 0))
    return _placed(tensor, _layout(tuple(tensor.shape), how), before, after, device)


def as_given(tensor: Tensor, device: torch.device) -> Arranged:
    """Copy with the same strides; memory between the elements is NaN."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return Arranged(tensor.clone().to(device), torch.full((0,), math.nan))
    repeated = [n > 1 and s == 0 for n, s in zip(tensor.shape, tensor.stride(), strict=True)]
    if any(repeated):
        once = tensor[tuple(slice(0, 1) if is_one else slice(None) for is_one in repeated)]
        first = arrange(once, "contiguous", device)
        return Arranged(first.tensor.expand(tensor.shape), first.base)
    return _placed(tensor, list(tensor.stride()), 0, 0, device)


def _placed(
    tensor: Tensor, strides: list[int], before: int, after: int, device: torch.device
) -> Arranged:
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True))
    base = torch.full((before + extent + after,), math.nan, dtype=tensor.dtype, device=device)
    placed = base.as_strided(tensor.shape, strides, before)
    placed.copy_(tensor)
    return Arranged(placed, base)
