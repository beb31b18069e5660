"""Sizes one by one: where kernels change from one path to another, or forget a tail.

Dense where vectors, warps and tiles end, then every power of two with its neighbours, odd sizes and
hidden sizes of models. A few rows each: what is looked for does not depend on the values.
"""

from __future__ import annotations

from collections.abc import Iterator

from normcheck.cases.case import Case
from normcheck.ops.op import Family, Op

__all__ = ["FIRST_SEED", "sweep"]

# Seeds from here on mark cases of a sweep: judged by the plain calls, and not probed further.
FIRST_SEED = 1000

_DENSE = tuple(range(1, 131))
_EDGES = tuple(
    size + shift
    for size in (192, 256, 320, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384)
    for shift in (-1, 0, 1)
)
_MODELS = (300, 514, 541, 1000, 1128, 1600, 2080, 2432, 2880, 3000, 5000, 5120, 5128, 6144, 12288)
_COUNTS = (*range(1, 42), 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
_TALL = (2047, 2048, 2049, 4095, 4096, 4097, 8191, 8193, 57345)


def sweep(op: Op, dtype: str) -> Iterator[Case]:
    """Yield the cases of an op, columns and positions first, then rows and samples.

    Args:
        op: The op.
        dtype: Name of the format.
    """
    shapes = _rows() if op.family is Family.ROWS else _channels()
    for place, shape in enumerate(shapes):
        found = op.shaped(shape)
        if found is not None:
            yield Case(op.name, dtype, found, "calm", seed=FIRST_SEED + place)


def _rows() -> Iterator[tuple[int, ...]]:
    for columns in (*_DENSE, *_EDGES, *_MODELS):
        yield (7 if columns <= 2049 else 3, columns)
    for rows in (*_COUNTS, *_TALL):
        yield (rows, 33 if rows <= 1025 else 5)


def _channels() -> Iterator[tuple[int, ...]]:
    for positions in (*_DENSE[:66], *_EDGES[:30]):
        yield (3, 6, positions)
    for samples in (*_COUNTS, *_TALL):
        yield (samples, 4, 5 if samples <= 1025 else 2)
    for channels in (*_DENSE[:40], *_EDGES[:18]):
        yield (2, channels, 7)
    # A slice of an image is longer than any model's row: kernels that hold short ones cut it.
    for positions in _EDGES[30:]:
        yield (1, 6, positions)
