"""Records of the same op side by side: what got worse, what got better. Imports no torch.

Verdicts are those of whole runs. Ratios are compared on the cases that both records measured: a
target that takes fewer parameters, or that steers the drawing elsewhere, meets other cases.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from normcheck.ratio import ratio_text
from normcheck.record import Check, Measurement, Record, Verdict

__all__ = [
    "CHANGES", "Comparison", "Difference", "FailOn", "Side", "compare", "compare_all", "is_worse",
]  # fmt: skip

# A ratio that doubles is reported as worse: less is within what another seed may find.
WORSE = 2.0
# Every change, the worst first.
CHANGES = ("new failure", "gone", "worse", "new", "no shared case", "fixed", "better", "same")
Measured = Mapping[str, Measurement]


class FailOn(StrEnum):
    """What ends a comparison with exit status 1."""

    NEW_FAILURE = "new-failure"
    WORSE = "worse"
    ANY_FAILURE = "any-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Difference:
    """One check in two records.

    Attributes:
        check: Its id.
        change: One of `CHANGES`. ``gone`` is no longer judged, ``new`` was not judged before, and
            ``no shared case`` has the same verdict and ratios that cannot be compared.
        before: Verdict and ratio of the first record, in words.
        after: Of the second.
        shared_cases: How many cases both measured in this check.
        factor: The second ratio over the first on these cases, infinite over 0; 1 without any.
        other: Which of the records that are compared with the baseline, from 0.
    """

    check: str
    change: str
    before: str
    after: str
    shared_cases: int = 0
    factor: float = 1.0
    other: int = 0

    @property
    def is_regression(self) -> bool:
        """Whether the second record is worse; a check that is no longer judged counts."""
        return self.change in ("new failure", "worse", "gone")


@dataclass(frozen=True, slots=True)
class Side:
    """One implementation, on the cases that the baseline measured too.

    Attributes:
        name: What tells it from the others: its target, or a name that was given.
        target: As its record says.
        verdict: Of its whole run.
        reason: Why no check of it was judged; empty if one was.
        checks: Checks judged.
        fails: Of them, those that failed.
        cases: Cases measured.
        shared_cases: Of them, those that the baseline measured in the same check; of the baseline
            itself, all.
        worst_ratio: Over the shared cases; None without any.
        median_ulps: Median of the absolute ulps of all measurements of the shared cases.
        baseline_worst_ratio: The baseline's, over the same cases.
        baseline_median_ulps: The baseline's, over the same cases.
    """

    name: str
    target: str
    verdict: Verdict
    reason: str
    checks: int
    fails: int
    cases: int
    shared_cases: int
    worst_ratio: float | None
    median_ulps: float | None
    baseline_worst_ratio: float | None
    baseline_median_ulps: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A baseline, and others compared with it.

    Attributes:
        baseline: The first.
        others: The others, in the order given.
        differences: Of all of them, the worst first; what is the same comes last.
    """

    baseline: Side
    others: tuple[Side, ...]
    differences: tuple[Difference, ...]

    def of(self, other: int) -> tuple[Difference, ...]:
        """Return the differences of one of the others."""
        return tuple(d for d in self.differences if d.other == other)

    def fails(self, fail_on: Collection[FailOn]) -> bool:
        """Whether one of the others is what was asked to fail on."""
        changes = {d.change for d in self.differences}
        return (
            (FailOn.NEW_FAILURE in fail_on and "new failure" in changes)
            or (FailOn.WORSE in fail_on and bool({"worse", "gone"} & changes))
            or (FailOn.ANY_FAILURE in fail_on and any(_failed(side) for side in self.others))
        )


def is_worse(before: float, after: float) -> bool:
    """Whether a ratio is at least twice as bad; any is worse than none at all."""
    return after >= WORSE * before and after > before


def compare(before: Record, after: Record) -> list[Difference]:
    """Return a difference for each check of either record that was judged in one of them.

    The worst comes first.
    """
    old = {check.id: check for check in before.checks}
    new = {check.id: check for check in after.checks}
    found = []
    for name in dict.fromkeys([*old, *new]):
        first, second = old.get(name), new.get(name)
        verdicts = {c.verdict for c in (first, second) if c is not None}
        if not verdicts <= {Verdict.NOT_JUDGED}:
            found.append(_difference(name, first, second))
    return sorted(found, key=_rank)


def compare_all(
    baseline: Record, others: Sequence[Record], *, names: Sequence[str] = ()
) -> Comparison:
    """Compare records with a baseline.

    Args:
        baseline: The first.
        others: Of the same op.
        names: What the baseline and the others are called; their targets if empty.
    """
    called = list(names) or [record.target for record in (baseline, *others)]
    differences = [
        Difference(d.check, d.change, d.before, d.after, d.shared_cases, d.factor, position)
        for position, other in enumerate(others)
        for d in compare(baseline, other)
    ]
    return Comparison(
        _side(called[0], baseline, baseline),
        tuple(_side(n, baseline, r) for n, r in zip(called[1:], others, strict=True)),
        tuple(sorted(differences, key=_rank)),
    )


def _rank(difference: Difference) -> tuple[int, float, str, int]:
    place = CHANGES.index(difference.change)
    return place, -difference.factor, difference.check, difference.other


def _judged(check: Check | None) -> bool:
    return check is not None and check.verdict is not Verdict.NOT_JUDGED


def _measured(check: Check | None) -> Measured:
    return {m.case: m for m in check.measurements} if check is not None and _judged(check) else {}


def _worst(measured: Measured, cases: Collection[str]) -> float | None:
    return max((measured[case].ratio for case in cases), default=None)


def _difference(name: str, before: Check | None, after: Check | None) -> Difference:
    old, new = _measured(before), _measured(after)
    shared = old.keys() & new.keys()
    first, second = _worst(old, shared), _worst(new, shared)
    factor = 1.0
    if first is not None and second is not None and first != second:
        factor = second / first if first else float("inf")
    change = _change(before, after, first, second)
    return Difference(
        name, change, _words(before, first), _words(after, second), len(shared), factor
    )


def _change(
    before: Check | None, after: Check | None, first: float | None, second: float | None
) -> str:
    if before is None or not _judged(before):
        return "new failure" if after and after.verdict is Verdict.FAIL else "new"
    if after is None or not _judged(after):
        return "gone"
    if before.verdict is not after.verdict:
        return "new failure" if after.verdict is Verdict.FAIL else "fixed"
    if first is None or second is None:
        return "no shared case" if before.measurements and after.measurements else "same"
    if is_worse(first, second):
        return "worse"
    return "better" if is_worse(second, first) else "same"


def _words(check: Check | None, shared: float | None) -> str:
    """Say a verdict, and the ratio on the shared cases where there are some."""
    if check is None:
        return "absent"
    if not _judged(check):
        return "not judged"
    if check.verdict is Verdict.FAIL and not check.worst_ratio > 1:
        return "fail"  # by what no budget measures
    if shared is None:
        return f"{check.verdict} {ratio_text(check.worst_ratio)}"
    told = f"{check.verdict} {ratio_text(shared)}"
    beyond = check.verdict is Verdict.FAIL and not shared > 1
    return f"{told}, {ratio_text(check.worst_ratio)} on a case of its own" if beyond else told


def _failed(side: Side) -> bool:
    return side.verdict is Verdict.FAIL or side.fails > 0


def _side(name: str, baseline: Record, record: Record) -> Side:
    reference = {check.id: _measured(check) for check in baseline.checks}
    mine: list[Measurement] = []
    theirs: list[Measurement] = []
    for check in record.checks:
        measured, other = _measured(check), reference.get(check.id, {})
        shared = [case for case in measured if case in other]
        mine += [measured[case] for case in shared]
        theirs += [other[case] for case in shared]
    judged = [check for check in record.checks if _judged(check)]
    return Side(
        name=name,
        target=record.target,
        verdict=record.verdict,
        reason="" if judged else _why_not(record),
        checks=len(judged),
        fails=record.count(Verdict.FAIL),
        cases=len({case for check in record.checks for case in _measured(check)}),
        shared_cases=len({m.case for m in mine}),
        worst_ratio=max((m.ratio for m in mine), default=None),
        median_ulps=_median(mine),
        baseline_worst_ratio=max((m.ratio for m in theirs), default=None),
        baseline_median_ulps=_median(theirs),
    )


def _median(measurements: Sequence[Measurement]) -> float | None:
    return statistics.median(abs(m.ulps) for m in measurements) if measurements else None


def _why_not(record: Record) -> str:
    refusals = [refusal.message for refusal in record.unsupported]
    reasons = [check.reason for check in record.checks if check.reason]
    return record.incomplete or next(iter([*refusals, *reasons]), "no case of this run applies")
