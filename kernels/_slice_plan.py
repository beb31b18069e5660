"""From shape, dtype and layout to the launches of group and batch norm: pure functions.

What sets the tree of additions is a tile's lines and elements (IN, JN), and they follow from the
shape, the dtype and which axis is adjacent in memory: not from the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Blocks", "SlicePlan", "Slices", "plan_slices", "plan_sums", "slices"]

# Elements of a program, of a slice that one holds, and of a tile of a slice that none does.
_PROGRAM, _LONGEST, _TILE = 4096, 16384, 1024
# Of a slice whose every element has a weight of its own: they need registers too.
_TURNED = 8192
# Channels last: as many slices as 32 bytes hold at least, of fewer elements.
_ADJACENT, _ADJACENT_TILE = 16, 512
# Channels whose terms 32 bytes hold, where they are neighbours.
_SECTOR = 8
# The largest number of slices, lines, elements or channels whose numbers are of 32 bits.
_NARROW = 2**31 - 2**16


@dataclass(frozen=True, slots=True)
class Slices:
    """How a tensor of (samples, channels, positions) is cut; see `_slices.py`.

    Attributes:
        rows: Slices.
        lines: Of a slice.
        along: Elements of a line.
        per: Slices of a sample.
        deep: Channels of a slice.
        channels: Whether a slice (0), a line (1) or an element (2) has one channel.
        turned: Whether lines are positions and their elements channels.
    """

    rows: int
    lines: int
    along: int
    per: int
    deep: int
    channels: int
    turned: bool

    def strides(self, stride: Sequence[int]) -> tuple[int, int, int, int]:
        """From sample to sample, slice to slice, line to line, element to element."""
        sample, channel, position = stride
        if not self.channels and self.deep == 1 and self.rows == self.per:
            if self.turned:
                return 0, channel, 0, sample
            return 0, channel, sample if self.lines > 1 else 0, position
        outer, inner = sample if self.rows > self.per else 0, self.deep * channel
        if self.turned:
            return outer, inner, position if self.lines > 1 else 0, channel
        return outer, inner, channel if self.lines > 1 else 0, position


def slices(shape: Sequence[int], stride: Sequence[int], groups: int) -> Slices:
    """Cut (samples, channels, positions) into groups, or with 0 groups into channels.

    Args:
        shape: Of three dimensions, none of them 0.
        stride: In elements.
        groups: Of channels, a divisor of them; 0 for statistics of the batch.
    """
    samples, channels, positions = shape
    if not groups:
        if positions == 1:
            return Slices(channels, 1, samples, channels, 1, 0, turned=True)
        return Slices(channels, samples, positions, channels, 1, 0, turned=False)
    deep = channels // groups
    rows = samples * groups
    if deep == 1:
        return Slices(rows, 1, positions, groups, 1, 0, turned=False)
    if positions == 1 or abs(stride[1]) < abs(stride[2]):
        return Slices(rows, positions, deep, groups, deep, 2, turned=True)
    return Slices(rows, deep, positions, groups, deep, 1, turned=False)


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """The launch of one pass over all elements.

    Attributes:
        rows: Slices of a program, a power of two.
        lines: Of a tile, a power of two.
        along: Elements of a tile's line, a power of two.
        tiles: Of a slice; 1 where a program holds it.
        across: Tiles of a line.
        programs: Of the launch.
        vector: Elements that are loaded at once.
        by_rows: Whether these are of as many slices.
        warps: Of a program.
        wide: Whether slices, lines or elements are numbered by 64 bits.
    """

    rows: int
    lines: int
    along: int
    tiles: int
    across: int
    programs: int
    vector: int
    by_rows: bool
    warps: int
    wide: bool

    @property
    def levels(self) -> int:
        """Of the tree over a tile."""
        return (self.lines * self.along).bit_length() - 1


def plan_slices(cut: Slices, itemsize: int, strides: Sequence[Sequence[int]],
                starts: Sequence[int]) -> SlicePlan:  # fmt: skip
    """Plan a pass.

    Args:
        cut: The slices.
        itemsize: Bytes of an element, 2, 4 or 8.
        strides: What ``cut.strides`` says of each tensor; the first one's decide.
        starts: Their addresses, in elements.
    """
    _, inner, _, point = strides[0]
    by_rows = inner == 1 and point != 1 and cut.along > 1
    lines, along = _power(cut.lines), _power(cut.along)
    tile = _ADJACENT_TILE if by_rows else _TILE
    longest = _TURNED if itemsize == 8 or cut.channels == 2 else _LONGEST
    if lines * along > (tile if by_rows else longest):
        along = min(along, tile)
        lines = min(lines, tile // along)
    rows = max(1, _PROGRAM // (lines * along), _ADJACENT if by_rows else 1)
    rows = min(rows, _power(cut.rows))
    across = -(-cut.along // along)
    tiles = across * -(-cut.lines // lines)
    programs = tiles * -(-cut.rows // rows)
    vector = 16 // itemsize
    while vector > 1 and any(each % vector for each in _aligned(cut, strides, by_rows, starts)):
        vector //= 2
    warps = min(max(rows * lines * along // 512, 1), 16)
    # A program goes beyond the end by less than a tile.
    wide = max(cut.rows, cut.lines, cut.along, cut.per * cut.deep) > _NARROW
    return SlicePlan(rows, lines, along, tiles, across, programs, vector, by_rows, warps, wide)


def _aligned(
    cut: Slices, strides: Sequence[Sequence[int]], by_rows: bool, starts: Sequence[int]
) -> list[int]:
    """What has to be a multiple of a vector."""
    numbers = [*starts, *([cut.rows, cut.per] if by_rows else [cut.along])]
    for outer, inner, step, point in strides:
        numbers += [outer, step, point if by_rows else inner]
        # The compiler is told of neighbours only where they are.
        if (inner if by_rows else point) != 1:
            numbers.append(1)
    return numbers


@dataclass(frozen=True, slots=True)
class Blocks:
    """How rows of tiles' sums are added: blocks of slots, one after the other.

    Attributes:
        rows: Of a program, a power of two.
        programs: Of the launch.
        slots: Of a block, a power of two.
        levels: Of the tree over them.
        blocks: Of a row.
    """

    rows: int
    programs: int
    slots: int
    levels: int
    blocks: int


def plan_sums(rows: int, count: int, *, adjacent: bool = False) -> Blocks:
    """Plan the sums of rows of so many terms; ``adjacent`` says that terms of rows are."""
    slots = min(_power(count), _TILE)
    together = min(max(_TILE // slots, _SECTOR if adjacent else 1), _power(rows))
    levels = slots.bit_length() - 1
    return Blocks(together, -(-rows // together), slots, levels, -(-count // slots))


def _power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
