"""Two records of the same op side by side: what got worse, what got better. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from normcheck.ratio import ratio_text
from normcheck.record import Check, Record, Verdict

__all__ = ["Difference", "compare"]

# A ratio that doubles is reported as worse: less is within what another seed may find.
WORSE = 2.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One check in two records.

    Attributes:
        check: Its id.
        change: ``new failure``, ``worse``, ``fixed``, ``better``, ``same``, ``gone`` or ``new``.
        before: Verdict and ratio of the first record, in words.
        after: Of the second.
    """

    check: str
    change: str
    before: str
    after: str

    @property
    def is_regression(self) -> bool:
        """Whether the second record is worse; a check that is no longer judged counts."""
        return self.change in ("new failure", "worse", "gone")


def _words(check: Check | None) -> str:
    if check is None:
        return "absent"
    if check.verdict is Verdict.NOT_JUDGED:
        return "not judged"
    return f"{check.verdict} {ratio_text(check.worst_ratio)}"


def _change(before: Check | None, after: Check | None) -> str:
    judged_before = before is not None and before.verdict is not Verdict.NOT_JUDGED
    judged_after = after is not None and after.verdict is not Verdict.NOT_JUDGED
    if not judged_before or before is None:
        return "new failure" if after and after.verdict is Verdict.FAIL else "new"
    if not judged_after or after is None:
        return "gone"
    if before.verdict is not after.verdict:
        return "new failure" if after.verdict is Verdict.FAIL else "fixed"
    if after.worst_ratio >= WORSE * before.worst_ratio and after.worst_ratio > before.worst_ratio:
        return "worse"
    return "better" if before.worst_ratio >= WORSE * after.worst_ratio > 0 else "same"


def compare(before: Record, after: Record) -> list[Difference]:
    """Return a difference for each check of either record that was judged in one of them.

    Regressions come first.
    """
    old = {check.id: check for check in before.checks}
    new = {check.id: check for check in after.checks}
    found = []
    for name in dict.fromkeys([*old, *new]):
        first, second = old.get(name), new.get(name)
        verdicts = {c.verdict for c in (first, second) if c is not None}
        if verdicts <= {Verdict.NOT_JUDGED}:
            continue
        found.append(Difference(name, _change(first, second), _words(first), _words(second)))
    return sorted(found, key=lambda d: (not d.is_regression, d.change == "same", d.check))
