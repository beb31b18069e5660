"""The runs of one target over time: text, Markdown and JSON. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from normcheck.comparison_of_runs import is_worse
from normcheck.ratio import ratio_text
from normcheck.record import Record, Verdict
from normcheck.reports import speed_history
from normcheck.reports.speed_history import SpeedHistory
from normcheck.reports.text import code, printable, table, verdict_text

__all__ = ["SCHEMA", "History", "Run", "document", "histories", "markdown", "run_of", "text"]

SCHEMA = "normcheck/history/1"
_AFTER = ("cases", "elapsed", "profile", "normcheck", "source", "changed")


@dataclass(frozen=True, slots=True)
class Run:
    """One record of a history.

    Attributes:
        file: Where it lies.
        target: Who was judged.
        op: As what.
        started_at: UTC, ISO 8601, as the record says.
        verdict: Of the run.
        worst: Per dtype, and device where it is no CPU, the largest ratio; None where nothing was
            judged.
        cases: Distinct cases judged.
        elapsed_s: Seconds.
        profile: How much was tried.
        seed: Of what was drawn.
        normcheck: Version.
        source: File and digest of the target; empty where the record has none.
        incomplete: Why it ended early; empty if it did not.
        changed: What is other than in the run before, in words.
    """

    file: str
    target: str
    op: str
    started_at: str
    verdict: Verdict
    worst: dict[str, float | None]
    cases: int
    elapsed_s: float
    profile: str
    seed: int
    normcheck: str
    source: str
    incomplete: str
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """The runs of a target as an op, the oldest first."""

    target: str
    op: str
    runs: tuple[Run, ...]

    @property
    def places(self) -> list[str]:
        """All dtypes, and devices, of its runs."""
        return list(dict.fromkeys(place for run in self.runs for place in run.worst))


def run_of(file: str, record: Record) -> Run:
    """Return what a history keeps of a record."""
    worst: dict[str, float | None] = {}
    for check in record.checks:
        cpu = check.device.startswith("cpu")
        place = check.dtype if cpu else f"{check.dtype} {check.device}"
        before = worst.setdefault(place, None)
        if check.verdict is not Verdict.NOT_JUDGED:
            worst[place] = max(before or 0.0, check.worst_ratio)
    return Run(
        file, record.target, record.op, record.started_at, record.verdict, worst,
        record.cases_judged, record.elapsed_s, record.profile, record.seed,
        record.environment.normcheck, record.source, record.incomplete,
    )  # fmt: skip


def histories(runs: Iterable[Run]) -> list[History]:
    """Group runs by target and op, in order of time, and say what changed from one to the next."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (_time(run.started_at), run.file)):
        groups.setdefault((run.target, run.op), []).append(run)
    return [History(target, op, _marked(found)) for (target, op), found in sorted(groups.items())]


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)  # no time at all goes first
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _marked(runs: Sequence[Run]) -> tuple[Run, ...]:
    known: dict[str, float] = {}
    marked: list[Run] = []
    source = ""
    for position, run in enumerate(runs):
        changed = _changed(runs[position - 1], run) if position else []
        if source and run.source and source != run.source:
            changed.append("source")
        for place, ratio in run.worst.items():
            if ratio is not None and place in known and is_worse(known[place], ratio):
                changed.append(f"worst {place} {ratio_text(known[place])} to {ratio_text(ratio)}")
        marked.append(replace(run, changed=tuple(changed)))
        # A run that does not know says nothing: the one before it is what counts.
        source = run.source or source
        known |= {place: ratio for place, ratio in run.worst.items() if ratio is not None}
    return tuple(marked)


def _changed(before: Run, after: Run) -> list[str]:
    found = []
    if before.verdict is not after.verdict:
        found.append(f"verdict {_word(before.verdict)} to {_word(after.verdict)}")
    if before.profile != after.profile:
        found.append("profile")
    return found


def _word(verdict: Verdict) -> str:
    return verdict_text(verdict).partition(" ")[2]


def text(found: Sequence[History], speeds: Sequence[SpeedHistory] = ()) -> str:
    """Return a table for each history, of runs and of benches."""
    blocks = []
    for history in found:
        lines = table([_columns(history), *_rows(history)], left=(0, 1, 2, *_last(history)))
        blocks.append("\n".join([_title(history), *(f"  {line}" for line in lines)]))
    return "\n\n".join([*map(printable, blocks), *filter(None, [speed_history.text(speeds)])])


def markdown(found: Sequence[History], speeds: Sequence[SpeedHistory] = ()) -> str:
    """Return the same as Markdown."""
    lines: list[str] = []
    for history in found:
        left = (0, 1, 2, *_last(history))
        columns = _columns(history)
        rule = ["---" if place in left else "---:" for place in range(len(columns))]
        lines += [f"### {code(history.target)} as {code(history.op)}", ""]
        for row in (columns, rule):
            lines.append(f"| {' | '.join(row)} |")
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in _rows(history)]
        lines.append("")
    for each in speeds:
        head, *rows = speed_history.rows_of(each)
        lines += [f"### Speed of {code(each.target)} as {code(each.op)}", ""]
        lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def document(found: Sequence[History], speeds: Sequence[SpeedHistory] = ()) -> str:
    """Return the same as JSON, of schema `SCHEMA`."""
    content = {
        "schema": SCHEMA,
        "histories": [asdict(history) for history in found],
        "speeds": [asdict(history) for history in speeds],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _title(history: History) -> str:
    runs = f"{len(history.runs)} runs" if len(history.runs) != 1 else "1 run"
    return f"{history.target} as {history.op or 'no op'}: {runs}"


def _columns(history: History) -> list[str]:
    return ["started", "file", "verdict", *history.places, *_AFTER]


def _last(history: History) -> range:
    """Return the columns of text behind those of numbers."""
    first = 3 + len(history.places) + 2
    return range(first, first + len(_AFTER) - 2)


def _rows(history: History) -> list[list[str]]:
    return [
        [
            run.started_at,
            run.file,
            verdict_text(run.verdict),
            *(_ratio(run, place) for place in history.places),
            f"{run.cases:,}",
            f"{run.elapsed_s:.1f} s",
            run.profile,
            run.normcheck,
            run.source or "?",
            "; ".join([*run.changed, *(["incomplete"] if run.incomplete else [])]),
        ]
        for run in history.runs
    ]


def _ratio(run: Run, place: str) -> str:
    if place not in run.worst:
        return ""
    ratio = run.worst[place]
    return "?" if ratio is None else ratio_text(ratio)


def _cell(content: str) -> str:
    plain = printable(" ".join(content.split()))
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
