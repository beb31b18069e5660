"""Outcomes that several properties come to in the same way."""

from __future__ import annotations

from collections.abc import Iterable

from normcheck.execution.observation import Raised, Trouble
from normcheck.numerics.comparison import Worst
from normcheck.properties.property import Finding, Outcome, Status
from normcheck.properties.trial import Trial

__all__ = ["from_comparisons", "from_trouble", "is_finite"]

HELD = Outcome(Status.HELD)


def from_trouble(raised: Raised) -> Outcome:
    """Return what a call without outputs says: refusals are not failures, dead calls are."""
    match raised.trouble:
        case Trouble.REFUSED | Trouble.NO_GRADIENT:
            return Outcome(Status.UNSUPPORTED, reason=raised.text)
        case Trouble.UNEXPECTED:
            return Outcome(Status.INAPPLICABLE, reason=raised.text)
    finding = Finding("target", f"the target {raised.text}", dead=True)
    return Outcome(Status.VIOLATED, finding=finding)


def from_comparisons(trial: Trial, tensors: Iterable[str]) -> Outcome:
    """Return the worst of some tensors: violated where any is outside its accepted values."""
    judged = 0
    worst: Worst | None = None
    finding: Finding | None = None
    for tensor in tensors:
        chosen = trial.compared(tensor)
        if chosen is None:
            continue
        policy, found = chosen
        judged += found.judged
        if found.worst is None or (worst is not None and found.ratio <= worst.ratio):
            continue
        worst = found.worst
        if found.ratio > 1.0:
            finding = Finding(tensor, "", worst, policy, found.violations, found.judged)
    if worst is None:
        status = Status.POWERLESS if trial.inputs.case.elements else Status.INAPPLICABLE
        return Outcome(status, reason="no element has a budget that can tell right from wrong")
    status = Status.VIOLATED if finding else Status.HELD
    return Outcome(status, worst.ratio, worst, finding)


def is_finite(trial: Trial) -> bool:
    """Return whether all values that go in are finite numbers."""
    return bool(trial.inputs.tensors["x"].isfinite().all())
