"""What a run tells whoever listens, while it runs; the record tells it again at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from normcheck.record import Check, Record

__all__ = ["CaseJudged", "CheckFinished", "Event", "Listener", "RunFinished", "RunStarted"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The plan is made: these checks will be run."""

    target: str
    op: str
    binding: str
    notes: tuple[str, ...]
    checks: tuple[str, ...]
    cases: int


@dataclass(frozen=True, slots=True)
class CaseJudged:
    """One case went through all properties."""

    case: str
    dtype: str
    violated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """One check has its verdict."""

    check: Check


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The record is complete."""

    record: Record


Event = RunStarted | CaseJudged | CheckFinished | RunFinished
Listener = Callable[[Event], None]
