"""One record of a run whose dtypes several processes judged.

Dtypes share nothing while they are judged, so that the record is the one that a single process
would have written, but for the times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from normcheck.record import INTERRUPTED, NotExercised, Power, Record, verdict_of

__all__ = ["joined"]

P = TypeVar("P")
T = TypeVar("T")


def joined(parts: Sequence[Record], dtypes: Sequence[str]) -> Record:
    """Return the record of the whole.

    Args:
        parts: One record per process, at least one; no dtype is in two of them.
        dtypes: In the order in which they were asked for.
    """

    def place(dtype: str) -> int:
        return dtypes.index(dtype)

    first = parts[0]
    reasons = [part.incomplete for part in parts if part.incomplete]
    incomplete = INTERRUPTED if INTERRUPTED in reasons else next(iter(reasons), "")
    checks = sorted(_all(parts, lambda part: part.checks), key=lambda check: place(check.dtype))
    refused = _all(parts, lambda part: part.unsupported)
    return first.model_copy(
        update={
            "verdict": verdict_of(checks, incomplete),
            "checks": checks,
            "unsupported": sorted(refused, key=lambda refusal: refusal.dtype),
            "cases_judged": sum(part.cases_judged for part in parts),
            "incomplete": incomplete,
            "power": None if incomplete else _power(parts),
            "envelope": [] if incomplete else _all(parts, lambda part: part.envelope),
            "started_at": min(part.started_at for part in parts),
            "elapsed_s": max(part.elapsed_s for part in parts),
            "elapsed_target_s": sum(part.elapsed_target_s for part in parts),
            "elapsed_judge_s": sum(part.elapsed_judge_s for part in parts),
        }
    )


def _all(parts: Iterable[P], of: Callable[[P], Iterable[T]]) -> list[T]:
    return [item for part in parts for item in of(part)]


def _power(parts: Sequence[Record]) -> Power | None:
    found = [part.power for part in parts if part.power is not None]
    if len(found) < len(parts):
        return None
    # Every part says of the same classes that a program cannot show them.
    without: dict[str, NotExercised] = {}
    for power in found:
        without.update({each.name: each for each in power.not_exercised})
    return Power(
        caught=sorted(_all(found, lambda power: power.caught), key=lambda each: each.mode),
        missed=sorted(_all(found, lambda power: power.missed)),
        not_exercised=sorted(without.values(), key=lambda each: each.name),
        elapsed_s=sum(power.elapsed_s for power in found),
    )
