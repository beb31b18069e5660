"""Known failures: excused while they are just what was written down, and failures otherwise.

An entry names a check, the case in which it fails, and why that is accepted. A pinned case makes
strictness possible: what is drawn elsewhere does not decide whether the entry still holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.errors import nearest
from normcheck.plugin.known_entries import Entry, Failed, Subject, entries_of
from normcheck.ratio import ratio_text
from normcheck.record import Check, Verdict

if TYPE_CHECKING:
    from normcheck.plugin.planning import Planned

__all__ = ["Known", "Ruling"]

WORSE = 10.0
"""An excused failure may grow by this factor over what was written down."""


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
        return cls(path, entries_of(path))

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
        found = []
        for entry in self.entries:
            exists = any(fnmatchcase(name, entry.check) for name in possible)
            if any(map(entry.names, collected)) or (exists and not whole):
                continue
            of = f" of {entry.target}" if entry.target else ""
            why = ": none was collected" if exists else nearest(entry.check, possible)
            found.append(f"{entry.check} in {self.path} matches no check{of}{why}")
        return found

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
        reason = "not yet looked into"
        written += [
            _pinned(Entry(check=f.subject.check, case=f.case, reason=reason), f, judged)
            for f in left
        ]
        order = sorted(written, key=lambda entry: (entry.check, entry.target))
        return "\n".join(entry.toml() for entry in order)


def _pinned(entry: Entry, failed: Failed, judged: Sequence[Subject]) -> Entry:
    """Pin an entry to a failure; among judged checks, let it name just that one."""
    subject = failed.subject
    pinned = entry.model_copy(update={"case": failed.case, "ratio": round(failed.ratio, 3)})
    if not judged:
        return pinned
    # The target is named where others have a check of the same id.
    alike = [other for other in judged if other.check == subject.check and other != subject]
    twins = any(other.target == subject.target for other in alike)
    target = subject.place if twins else subject.target if alike else ""
    return pinned.model_copy(update={"check": subject.check, "target": target})


def _possible() -> Iterator[str]:
    """Yield the id of every check that there is."""
    from normcheck.config import DTYPES
    from normcheck.ops import catalogue
    from normcheck.properties import registry

    parts = (catalogue.names(), DTYPES, ("cpu", "cuda"), registry.names())
    yield from map("-".join, itertools.product(*parts))


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
