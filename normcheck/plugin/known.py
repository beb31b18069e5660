"""Known failures: excused while they are just what was written down, and failures otherwise.

An entry names a check, the case in which it fails, and why that is accepted. A pinned case makes
strictness possible: what is drawn elsewhere does not decide whether the entry still holds.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.errors import UsageError, nearest
from normcheck.ratio import ratio_text
from normcheck.record import Check, Verdict

if TYPE_CHECKING:
    from normcheck.plugin.planning import Planned

__all__ = ["Entry", "Known", "Ruling"]

WORSE = 10.0
"""An excused failure may grow by this factor over what was written down."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``[[known]]`` table.

    Attributes:
        check: Id of the check, with ``*`` for any characters.
        case: Id of the case in which it fails.
        reason: Why that is accepted.
        issue: Where it is being worked on.
        until: Last day on which it excuses; None for ever.
        ratio: Error over budget when it was written; 0 if that does not matter.
    """

    check: str
    case: str
    reason: str
    issue: str = ""
    until: date | None = None
    ratio: float = 0.0

    def matches(self, name: str) -> bool:
        """Return whether it speaks of a check."""
        return fnmatchcase(name, self.check)

    def toml(self) -> str:
        """Return it as it is written."""
        lines = ["[[known]]"]
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, date):
                lines.append(f"{each.name} = {value.isoformat()}")
            elif value:
                lines.append(f"{each.name} = {json.dumps(value, ensure_ascii=False)}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the entries say about one check; at most one of the two is given."""

    failure: str = ""
    excuse: str = ""


@dataclass(slots=True)
class Known:
    """The file.

    Attributes:
        path: Where it lies; None without one.
        entries: What is in it.
        today: The day that ``until`` is compared with.
    """

    path: Path | None = None
    entries: tuple[Entry, ...] = ()
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    @classmethod
    def read(cls, text: str, root: Path) -> Known:
        """Read a file; an empty text is no file.

        Raises:
            UsageError: It is missing, is no TOML, or has an entry that means nothing.
        """
        if not text:
            return cls()
        path = root / text
        if not path.exists():
            return cls(path)
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
        return cls(path, tuple(_entry(path, table) for table in document.get("known", [])))

    def ruling(self, check: Check, planned: Planned) -> Ruling:
        """Judge a check by the first entry that speaks of it."""
        entry = next((e for e in self.entries if _speaks(e, check)), None)
        if entry is None:
            return Ruling()
        status = _status(entry, check, planned)
        if status == _NOT_JUDGED:
            return Ruling()
        if status == _HOLDS:
            return Ruling(
                failure=f"stale known failure: {check.id} holds in {entry.case}; remove the entry"
            )
        if entry.until is not None and entry.until < self.today:
            return Ruling(failure=f"known failure, excused until {entry.until}: {entry.reason}")
        if entry.ratio and check.worst_ratio > WORSE * entry.ratio:
            now, then = ratio_text(check.worst_ratio), ratio_text(entry.ratio)
            return Ruling(failure=f"known failure got worse: {now}, and {then} when it was written")
        if check.verdict is not Verdict.FAIL:
            # It fails there, and the cases of this run do not: a run of a smaller profile, maybe.
            return Ruling()
        return Ruling(excuse=" ".join(filter(None, [f"known: {entry.reason}", entry.issue])))

    def unmatched(self, ids: Iterable[str]) -> list[str]:
        """Return a sentence for each entry about an op of this run that speaks of no check."""
        known = list(ids)
        ops = {name.partition("-")[0] for name in known}
        return [
            f"{entry.check} in {self.path} matches no check{nearest(entry.check, known)}"
            for entry in self.entries
            if entry.check.partition("-")[0] in ops and not any(map(entry.matches, known))
        ]

    def updated(self, failing: Mapping[str, tuple[str, float]], judged: Iterable[str]) -> str:
        """Return the file with today's failures; reasons that were given are kept.

        Args:
            failing: Per id of a failing check, its case and its ratio.
            judged: Ids of all checks that were judged; entries about others stay.
        """
        seen = set(judged)
        kept = [e for e in self.entries if not any(map(e.matches, seen))]
        for name, (case, ratio) in failing.items():
            before = next((e for e in self.entries if e.matches(name)), None)
            entry = before or Entry(name, case, "not yet looked into")
            kept.append(replace(entry, check=name, case=case, ratio=round(ratio, 3)))
        return "\n".join(entry.toml() for entry in sorted(kept, key=lambda e: e.check))


def _entry(path: Path, table: Mapping[str, object]) -> Entry:
    names = [each.name for each in fields(Entry)]
    for name in table:
        if name not in names:
            raise UsageError(f"an entry of {path} has {name!r}{nearest(name, names)}")
    for name in ("check", "case", "reason"):
        if not isinstance(table.get(name), str) or not table[name]:
            raise UsageError(
                f"an entry of {path} has no {name}, but must name check, case and reason"
            )
    until = table.get("until")
    if isinstance(until, str):
        try:
            until = date.fromisoformat(until)
        except ValueError:
            raise UsageError(
                f"until is {until!r} in {path}, but must be a day: 2027-03-01"
            ) from None
    return Entry(**{**table, "until": until})  # type: ignore[arg-type]


def _speaks(entry: Entry, check: Check) -> bool:
    """Whether an entry is about a check, and its case of the check's format."""
    from normcheck.cases.case import Case

    return entry.matches(check.id) and Case.parse(entry.case).dtype == check.dtype


_HOLDS, _FAILS, _NOT_JUDGED = 0, 1, 4


def _status(entry: Entry, check: Check, planned: Planned) -> int:
    """Say what becomes of the pinned case; it is judged again unless the run has just said so."""
    from normcheck.cases.case import Case
    from normcheck.replay import replay

    if entry.case in {f.case for f in check.failures} | {f.found_in for f in check.failures}:
        return _FAILS
    plan = replace(planned.plan, properties=(check.property,))
    return replay(plan, Case.parse(entry.case)).status
