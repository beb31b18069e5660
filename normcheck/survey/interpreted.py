"""What Triton's interpreter gets wrong by itself, and what is not held against a library for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from normcheck.record import Verdict
from normcheck.survey.document import Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DTYPES", "PROPERTIES", "with_reasons"]

# Formats and properties that nothing is judged in, and why. No sentence ends in a full stop.
DTYPES = {
    "bfloat16": "goes through Triton's interpreter here, which cuts bfloat16 off instead of "
    "rounding it and adds it as the integers of its bits",
}
PROPERTIES = {
    "reentrancy": "goes through Triton's interpreter here, which keeps its place in the grid in a "
    "global of the process, so that two threads disturb each other",
    "mixed_dtypes": "goes through Triton's interpreter here, which cannot compute in bfloat16, one "
    "of the other formats",
}
_EVERYTHING = "every property"


def with_reasons(cells: Collection[Cell], dtypes: Sequence[str]) -> list[Cell]:
    """Return the cells of a run with what was left out, and why.

    Args:
        cells: Of the formats that were run.
        dtypes: Formats that were asked for and that the library offers, in order.
    """
    found = {
        cell.dtype: cell.model_copy(update={"not_judged": {**cell.not_judged, **PROPERTIES}})
        for cell in cells
    }
    left_out = {dtype: _empty(dtype) for dtype in dtypes if dtype in DTYPES}
    together = found | left_out
    return [together[dtype] for dtype in dtypes if dtype in together]


def _empty(dtype: str) -> Cell:
    return Cell(
        dtype=dtype, verdict=Verdict.NOT_JUDGED, worst_ratio=0.0, checks=0,
        not_judged={_EVERYTHING: DTYPES[dtype]},
    )  # fmt: skip
