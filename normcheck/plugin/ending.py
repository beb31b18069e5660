"""The end of a run: what was asked for and not done, the summary, the reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normcheck.config import DTYPES
from normcheck.joining import joined
from normcheck.plugin.planning import place_of, target_of
from normcheck.plugin.session import Session
from normcheck.plugin.tally import TargetTally
from normcheck.record import Record, Verdict

__all__ = ["finish", "summarise"]


def finish(session: pytest.Session, ours: Session) -> None:
    """Fail a run that was asked for checks and judged none, and write the reports."""
    if session.config.option.collectonly:
        return
    if session.config.option.normcheck_update_known and ours.known.path is None:
        ours.faults.append("--normcheck-update-known needs --normcheck-known FILE")
    asked = ours.asked
    ours.faults += [
        f"asked to check {name}, but nothing was judged"
        for name in asked
        if not _judged(ours, f"normcheck::{name}")
    ]
    ours.faults += ours.known.unmatched(ours.collected, whole=ours.is_whole)
    ours.faults += [
        f"{place}: no check of its contract was judged"
        for place, tally in ours.tally.targets.items()
        if not place.startswith("normcheck::") and not tally.judged
    ]
    green = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if ours.faults and session.exitstatus in green:
        usage, failed = pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.TESTS_FAILED
        session.exitstatus = usage if asked else failed
    if session.config.option.normcheck_update_known:
        _update(ours)
    for text in session.config.option.normcheck_report:
        ours.notes += _write(Path(text), ours)


def _judged(ours: Session, place: str) -> bool:
    """Whether a check of a target says something; a timing asks for the verdict, too."""
    tally = ours.tally.targets.get(place)
    if tally is not None and tally.judged:
        return True
    records = ours.store.records().items()
    found = [record for key, record in records if target_of(key) == place]
    return any(record.verdict is not Verdict.NOT_JUDGED for record in found)


def _update(ours: Session) -> None:
    if ours.known.path is None:
        return
    tallies = ours.tally.targets.values()
    failing = [failed for tally in tallies for failed in tally.failing.values()]
    judged = [subject for tally in tallies for subject in tally.judged]
    ours.known.path.write_text(ours.known.updated(failing, judged), encoding="utf-8")
    ours.notes.append(f"{ours.known.path}: {len(failing)} known failures; give each its reason")


def _write(path: Path, ours: Session) -> list[str]:
    """Write one report per target, and return where they are."""
    parts: dict[str, list[Record]] = {}
    for key, record in ours.store.records().items():
        parts.setdefault(place_of(key), []).append(record)
    if not parts:
        return [f"{path} was not written: nothing was judged"]
    told = []
    for position, found in enumerate(parts.values(), 1):
        record = joined(found, DTYPES)
        place = path if len(parts) == 1 else path.with_stem(f"{path.stem}-{position}")
        told += [f"report: {file} ({record.target})" for file in _saved(record, place)]
    return told


def _saved(record: Record, place: Path) -> list[Path]:
    if place.suffix == ".html":
        from normcheck.reports.html import save

        return save(record, place)
    if place.suffix == ".json":
        place.write_text(record.to_json() + "\n", encoding="utf-8")
    else:
        from normcheck.reports.text import markdown

        place.write_text(markdown(record), encoding="utf-8")
    return [place]


def summarise(terminal: Any, ours: Session) -> None:
    """Tell each target in a line."""
    if not ours.tally.targets and not ours.faults:
        return
    failed = ours.faults or any(t.verdicts["fail"] for t in ours.tally.targets.values())
    terminal.section(
        f"normcheck: {'FAIL' if failed else 'PASS'}", sep="=", red=bool(failed), green=not failed
    )
    for tally in ours.tally.targets.values():
        terminal.write_line(_line(tally))
        if tally.first:
            terminal.write_line(f"   first look: {tally.first}")
    for fault in ours.faults:
        terminal.write_line(f"normcheck: {fault}", red=True)
    for note in ours.notes:
        terminal.write_line(note)


def _line(tally: TargetTally) -> str:
    count = tally.verdicts
    words = [f"{count['pass']} pass", f"{count['fail']} fail"]
    words += [f"{count['known']} known"] if count["known"] else []
    words += [f"{count['not_judged']} not judged"]
    return f"{tally.target}   {sum(count.values())} checks   {'   '.join(words)}"
