"""From shape and dtype to a launch: a pure function and a table, no tuning at run time.

What sets the tree of additions follows from the shape and the dtype alone: of a row's sums (block,
chunks, rows of a tile) from its length, of the sums over rows (tiles, parts) from the number of
rows too. Neither the device nor its load changes a bit. In mode "strict" a row's tree is that of
neighbours in the row padded to a power of two: not even the block matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Plan", "plan_parts", "plan_rows", "plan_sum"]

# Elements of a tile: many short rows share a program.
_TILE = 4096
# The longest row that a program holds, forward and backward; beyond it registers spill.
_FORWARD, _BACKWARD = 16384, 8192
_CHUNK = 8192
# Programs among which the rows of a sum over rows are shared.
_PARTS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """One direction of one op on a shape.

    Attributes:
        block: Columns of a tile, a power of two.
        chunks: Tiles of a row; 1 where a program holds it.
        rows: Rows of a tile, a power of two.
        tiles: Tiles of a program; 1 forward.
        programs: Programs; of a sum over rows, its parts.
        vector: Elements that a row's starts and length are a multiple of.
        warps: Of a program.
    """

    block: int
    chunks: int
    rows: int
    tiles: int
    programs: int
    vector: int
    warps: int

    @property
    def levels(self) -> int:
        """Of the tree over a chunk."""
        return _levels(self.block)

    @property
    def row_levels(self) -> int:
        """Of the tree over a tile's rows."""
        return _levels(self.rows)

    @property
    def slots(self) -> int:
        """The number of chunks as a power of two."""
        return _power(self.chunks)

    @property
    def slot_levels(self) -> int:
        """Of the tree over the chunks."""
        return _levels(self.slots)


def plan_rows(
    rows: int, columns: int, itemsize: int, aligned: Sequence[int], *, backward: bool
) -> Plan:
    """Plan a normalization over rows.

    Args:
        rows: At least 1.
        columns: At least 1.
        itemsize: Bytes of an element of the widest tensor, 2, 4 or 8.
        aligned: What has to be a multiple of a vector for it to be loaded at once: strides of rows,
            and addresses in elements.
        backward: Whether rows are differentiated, and their terms summed.
    """
    padded = _power(columns)
    longest = (_BACKWARD if backward else _FORWARD) // (2 if itemsize == 8 else 1)
    whole = padded <= longest
    block = padded if whole else _CHUNK
    chunks = 1 if whole else -(-columns // block)
    # However few rows there are: another tile would have another order of additions.
    together = max(1, _TILE // block) if whole else 1
    tiles = 1
    if backward:
        tiles = -(-rows // (_PARTS * together))
    vector = _vector(16 // itemsize, [columns, *aligned])
    programs = -(-rows // (together * tiles))
    # 8 warps hold a chunk of a longer row: with 16 the compiler saves registers, and spills.
    warps = _warps(block * together) if whole else 8
    return Plan(block, chunks, together, tiles, programs, vector, warps)


def plan_parts(rows: int, columns: int, itemsize: int, aligned: Sequence[int]) -> Plan:
    """Plan the sums over rows of a shape whose rows no program holds."""
    block = 1024
    together = min(4, _power(rows))
    tiles = -(-rows // (_PARTS * together))
    programs = -(-rows // (together * tiles))
    vector = _vector(16 // itemsize, [columns, *aligned])
    return Plan(block, -(-columns // block), together, tiles, programs, vector, 4)


def plan_sum(parts: int, columns: int, itemsize: int) -> Plan:
    """Plan the addition of at most 256 parts."""
    padded = _power(parts)
    block = min(max(8, 16384 // padded // 2), _power(columns))
    programs = -(-columns // block)
    return Plan(block, programs, padded, 1, programs, _vector(16 // itemsize, [columns]), 4)


def _power(number: int) -> int:
    """The next power of two, at least 1."""
    return 1 << max(0, number - 1).bit_length()


def _levels(power: int) -> int:
    return power.bit_length() - 1


def _vector(widest: int, numbers: Sequence[int]) -> int:
    vector = widest
    while vector > 1 and any(number % vector for number in numbers):
        vector //= 2
    return vector


def _warps(elements: int) -> int:
    """A warp per 512 elements, so that loads stay 16 bytes wide."""
    return min(max(elements // 512, 1), 16)
