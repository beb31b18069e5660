"""What a report draws and lists: measured cases, and fewer of them where there are too many."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normcheck.record import Check, Measurement, Record, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["MOST_FAILURES", "MOST_KEPT", "Series", "Thinned", "measured", "series", "thinned"]

MOST_KEPT = 10_000
MOST_FAILURES = 500
_FIELDS = ("ratio", "ulps", "condition", "magnitude", "eps_share", "length")


@dataclass(frozen=True, slots=True)
class Series:
    """The measured cases of one dtype, each with its worst element.

    Attributes:
        dtype: Name of the format.
        values: Per field of a measurement, one number for each; NaN where there is none.
        forward: Which of them are of forward_accuracy.
    """

    dtype: str
    values: dict[str, Array]
    forward: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Thinned:
    """A record with as many measured cases as a page can carry.

    Attributes:
        record: The same but for the measurements.
        kept: How many it has.
        total: How many there were.
    """

    record: Record
    kept: int
    total: int

    @property
    def sentence(self) -> str:
        """Say what is kept, "" if all is."""
        if self.kept == self.total:
            return ""
        return (
            f"{self.kept:,} of {self.total:,} measured cases are listed in this file: the worst of "
            f"every check, up to {MOST_FAILURES} that fail, and an even sample of the others."
        )


def measured(record: Record) -> list[tuple[Check, Measurement]]:
    """Return the measured cases of checks that say something, the worst first."""
    found = [(check, m) for check in _saying(record) for m in check.measurements]
    return sorted(found, key=lambda pair: -pair[1].ratio)


def series(record: Record) -> list[Series]:
    """Return the measured cases of checks that say something, by dtype."""
    import numpy as np

    found: dict[str, list[Check]] = {}
    for check in _saying(record):
        if check.measurements:
            found.setdefault(check.dtype, []).append(check)
    made = []
    for dtype, checks in found.items():
        own = [m for check in checks for m in check.measurements]
        rows = [[_number(getattr(m, name)) for name in _FIELDS] for m in own]
        columns = dict(zip(_FIELDS, np.array(rows, dtype=np.float64).T, strict=True))
        forward = [c.property == "forward_accuracy" for c in checks for _ in c.measurements]
        made.append(Series(dtype, columns, np.array(forward)))
    return made


def _saying(record: Record) -> list[Check]:
    """Return the checks whose errors are their own: the others only repeat what these say."""
    return [check for check in record.checks if check.verdict is not Verdict.NOT_JUDGED]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def thinned(record: Record, most: int = MOST_KEPT) -> Thinned:
    """Return a record with at most so many measured cases, or little more to keep what matters."""
    ratios = [m.ratio for check in record.checks for m in check.measurements]
    if len(ratios) <= most:
        return Thinned(record, len(ratios), len(ratios))
    kept = set(_worst_of_every_check(record))
    failing = sorted((at for at, r in enumerate(ratios) if r > 1.0), key=lambda at: -ratios[at])
    kept |= set(failing[:MOST_FAILURES])
    # What neighbours in the record share, a shape or a regime, the sample goes through evenly.
    left = max(0, most - len(kept))
    kept |= {position * len(ratios) // left for position in range(left)} if left else set()
    checks, start = [], 0
    for check in record.checks:
        own = [m for at, m in enumerate(check.measurements, start) if at in kept]
        start += len(check.measurements)
        checks.append(check.model_copy(update={"measurements": own}))
    return Thinned(record.model_copy(update={"checks": checks}), len(kept), len(ratios))


def _worst_of_every_check(record: Record) -> Iterator[int]:
    """Yield where the worst case of each check stands among all."""
    start = 0
    for check in record.checks:
        ratios = [m.ratio for m in check.measurements]
        if ratios:
            yield start + ratios.index(max(ratios))
        start += len(ratios)
