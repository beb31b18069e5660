"""Known failures: excused while they are just what was written down, and failures otherwise.

An entry names a check, the case in which it fails, and why that is accepted. A pinned case makes
strictness possible: what is drawn elsewhere does not decide whether the entry still holds.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
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

__all__ = ["Entry", "Failed", "Known", "Ruling", "Subject"]

WORSE = 10.0
"""An excused failure may grow by this factor over what was written down."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A check of a target.

    Attributes:
        check: Its id.
        target: What the target is called.
        place: Node id of the contract or the target.
    """

    check: str
    target: str
    place: str

    @property
    def dtype(self) -> str:
        """Name of the format, which stands in the id."""
        return self.check.split("-")[1]


@dataclass(frozen=True, slots=True)
class Failed:
    """A failing check: where, in which case, and its error over budget."""

    subject: Subject
    case: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One ``[[known]]`` table.

    Attributes:
        check: Id of the check, with ``*`` for any characters.
        target: What its target is called, or the node id of its contract; empty for any.
        case: Id of the case in which it fails.
        reason: Why that is accepted.
        issue: Where it is being worked on.
        until: Last day on which it excuses; None for ever.
        ratio: Error over budget when it was written; 0 if that does not matter.
    """

    check: str
    target: str = ""
    case: str
    reason: str
    issue: str = ""
    until: date | None = None
    ratio: float = 0.0

    def names(self, subject: Subject) -> bool:
        """Return whether it names a check of a target."""
        target = self.target or "*"
        called = fnmatchcase(subject.target, target) or fnmatchcase(subject.place, target)
        return called and fnmatchcase(subject.check, self.check)

    def speaks_of(self, subject: Subject) -> bool:
        """Return whether it names a check, and its case is of the check's format."""
        from normcheck.cases.case import Case

        return self.names(subject) and Case.parse(self.case).dtype == subject.dtype

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

    def ruling(self, check: Check, planned: Planned, fixtures: Mapping[str, object]) -> Ruling:
        """Judge a check by the first entry that speaks of it.

        Args:
            check: What has been found.
            planned: The target.
            fixtures: Values of the target's parameters that pytest fills in.
        """
        subject = Subject(check.id, planned.text, planned.place)
        entry = next((e for e in self.entries if e.speaks_of(subject)), None)
        if entry is None:
            return Ruling()
        status = _status(entry, check, planned, fixtures)
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

    def unmatched(self, collected: Collection[Subject], *, whole: bool) -> list[str]:
        """Return a sentence for each entry that speaks of no check.

        Args:
            collected: The checks of this run.
            whole: Whether they are all that the project has; else an entry need only name a check
                that there is, here or in a file that was left out.
        """
        if not self.entries or not collected:
            return []
        ids = list(dict.fromkeys(subject.check for subject in collected))
        possible = ids + list(_possible())
        return [
            f"{entry.check} in {self.path} matches no check"
            f"{f' of {entry.target}' if entry.target else ''}{nearest(entry.check, possible)}"
            for entry in self.entries
            if not any(map(entry.names, collected))
            and (whole or not any(fnmatchcase(name, entry.check) for name in possible))
        ]

    def updated(self, failing: Sequence[Failed], judged: Sequence[Subject]) -> str:
        """Return the file with today's failures; reasons that were given are kept.

        Args:
            failing: What fails, known or not.
            judged: All checks that were judged; entries about others stay.
        """
        written = []
        left = list(failing)
        for entry in self.entries:
            if not any(map(entry.speaks_of, judged)):
                written.append(entry)
                continue
            found = [failed for failed in left if entry.speaks_of(failed.subject)]
            left = [failed for failed in left if failed not in found]
            # One entry has one case: what it said of several is said of each.
            alone = len(found) == 1
            written += [_pinned(entry, each, () if alone else judged) for each in found]
        blank = Entry(check="", case="", reason="not yet looked into")
        written += [_pinned(blank, failed, judged) for failed in left]
        order = sorted(written, key=lambda entry: (entry.check, entry.target))
        return "\n".join(entry.toml() for entry in order)


def _pinned(entry: Entry, failed: Failed, judged: Sequence[Subject]) -> Entry:
    """Pin an entry to a failure; among judged checks, let it name just that one."""
    subject = failed.subject
    pinned = replace(entry, case=failed.case, ratio=round(failed.ratio, 3))
    if not judged:
        return pinned
    # The target is named where others have a check of the same id.
    alike = [other for other in judged if other.check == subject.check and other != subject]
    twins = any(other.target == subject.target for other in alike)
    target = subject.place if twins else subject.target if alike else ""
    return replace(pinned, check=subject.check, target=target)


def _possible() -> Iterator[str]:
    """Yield the id of every check that there is."""
    from normcheck.config import DTYPES
    from normcheck.ops import catalogue
    from normcheck.properties import registry

    parts = (catalogue.names(), DTYPES, ("cpu", "cuda"), registry.names())
    yield from map("-".join, itertools.product(*parts))


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


_HOLDS, _FAILS, _NOT_JUDGED = 0, 1, 4


def _status(entry: Entry, check: Check, planned: Planned, fixtures: Mapping[str, object]) -> int:
    """Say what becomes of the pinned case; it is judged again unless the run has just said so."""
    from normcheck.cases.case import Case
    from normcheck.replay import replay

    if entry.case in {f.case for f in check.failures} | {f.found_in for f in check.failures}:
        return _FAILS
    adapter = planned.filled(fixtures)
    plan = replace(planned.plan, adapter=adapter, properties=(check.property,))
    return replay(plan, Case.parse(entry.case)).status
