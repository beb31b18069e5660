"""What became of the cases, in shares: how much of a run was judged, refused, or beyond judging."""

from __future__ import annotations

from dataclasses import dataclass

from normcheck.record import Record, Verdict

__all__ = ["NAMES", "Outcomes", "outcomes"]

NAMES = ("within budget", "over budget", "refused", "cannot be told")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Cases of one dtype, over all checks.

    Attributes:
        dtype: Name of the format.
        counts: In the order of `NAMES`.
    """

    dtype: str
    counts: tuple[int, int, int, int]

    @property
    def shares(self) -> tuple[float, ...]:
        """In percent."""
        total = sum(self.counts)
        return tuple(100.0 * count / total if total else 0.0 for count in self.counts)


def outcomes(record: Record) -> list[Outcomes]:
    """Return them in the order of the record's dtypes."""
    found = []
    for dtype in dict.fromkeys(check.dtype for check in record.checks):
        own = [check for check in record.checks if check.dtype == dtype]
        saying = [check for check in own if check.verdict is not Verdict.NOT_JUDGED]
        over = sum(check.failing_cases for check in saying)
        # What only repeats another check's failure says nothing of its own.
        silent = sum(check.cases for check in own if check.verdict is Verdict.NOT_JUDGED)
        counts = (
            sum(check.cases for check in saying) - over, over,
            sum(check.unsupported for check in own),
            sum(check.without_power for check in own) + silent,
        )  # fmt: skip
        found.append(Outcomes(dtype, counts))
    return found
