"""The benches of one target over time: which share of a copy's bandwidth it reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from normcheck.bench.document import Bench
from normcheck.record import Verdict
from normcheck.reports.text import printable, table, verdict_text

__all__ = ["SpeedHistory", "SpeedRun", "rows_of", "speed_histories", "speed_of", "text"]

SLOWER = 0.8
"""A share of the copy's bandwidth that falls to less than this of the one before is marked."""
_HEAD, _TAIL = ("started", "file", "verdict"), ("normcheck", "changed")


@dataclass(frozen=True, slots=True)
class SpeedRun:
    """One bench of a history.

    Attributes:
        file: Where it lies.
        target: Whose speed.
        op: As what.
        started_at: UTC, ISO 8601, as the document says.
        verdict: The worst of its formats.
        gb_per_s: Per format and direction, at the largest size that was timed.
        share: Likewise, of the bandwidth of a copy in the same bench.
        size: Likewise, that size.
        normcheck: Version.
        changed: What is slower than in the bench before, in words.
    """

    file: str
    target: str
    op: str
    started_at: str
    verdict: Verdict
    gb_per_s: dict[str, float]
    share: dict[str, float]
    size: dict[str, int]
    normcheck: str
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeedHistory:
    """The benches of a target as an op, the oldest first."""

    target: str
    op: str
    runs: tuple[SpeedRun, ...]

    @property
    def places(self) -> list[str]:
        """All formats and directions of its benches."""
        return list(dict.fromkeys(place for run in self.runs for place in run.gb_per_s))


def speed_of(file: str, bench: Bench) -> SpeedRun:
    """Return what a history keeps of a bench: its target's own rows."""
    speed: dict[str, float] = {}
    share: dict[str, float] = {}
    size: dict[str, int] = {}
    own = [row for row in bench.rows if row.implementation == bench.target]
    for row in sorted(own, key=lambda row: row.size):
        if row.gb_per_s is not None and row.share_of_copy is not None:
            place = f"{row.dtype} {row.direction}"
            speed[place], share[place], size[place] = row.gb_per_s, row.share_of_copy, row.size
    verdicts = {row.verdict for row in own}
    verdict = Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.NOT_JUDGED
    return SpeedRun(
        file, bench.target, bench.op, bench.started_at,
        Verdict.FAIL if Verdict.FAIL in verdicts else verdict, speed, share, size,
        bench.environment.normcheck,
    )  # fmt: skip


def speed_histories(runs: Iterable[SpeedRun]) -> list[SpeedHistory]:
    """Group benches by target and op, in order of time, and mark what became slower."""
    groups: dict[tuple[str, str], list[SpeedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.started_at, run.file)):
        groups.setdefault((run.target, run.op), []).append(run)
    return [SpeedHistory(target, op, _marked(own)) for (target, op), own in sorted(groups.items())]


def _marked(runs: Sequence[SpeedRun]) -> tuple[SpeedRun, ...]:
    known: dict[tuple[str, int], float] = {}
    marked = []
    for run in runs:
        changed = []
        for place, share in run.share.items():
            # Shares of a copy, not times: another machine has another bandwidth.
            before = known.get((place, run.size[place]))
            if before is not None and share < SLOWER * before:
                changed.append(f"{place} {100 * before:.0f} % to {100 * share:.0f} % of a copy")
            known[place, run.size[place]] = share
        marked.append(replace(run, changed=tuple(changed)))
    return tuple(marked)


def rows_of(history: SpeedHistory) -> list[list[str]]:
    """Return its table, the names of the columns first."""
    rows = [[*_HEAD, *history.places, *_TAIL]]
    for run in history.runs:
        cells = [
            f"{run.gb_per_s[place]:.3g} GB/s ({100 * run.share[place]:.0f} %)"
            if place in run.gb_per_s
            else ""
            for place in history.places
        ]
        told = [run.started_at, run.file, verdict_text(run.verdict)]
        rows.append([*told, *cells, run.normcheck, "; ".join(run.changed)])
    return rows


def text(found: Sequence[SpeedHistory]) -> str:
    """Return a table for each history."""
    blocks = []
    for history in found:
        rows = rows_of(history)
        last = len(rows[0])
        lines = table(rows, left=(0, 1, 2, last - 2, last - 1))
        title = f"{history.target} as {history.op}: speed at the largest size, % of a copy"
        blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
    return printable("\n\n".join(blocks))
