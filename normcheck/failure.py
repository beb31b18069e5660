"""From a violation to an explanation: smallest case, expected and got, what matters, reproducer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.shrink import Shrunk, shrink
from normcheck.diagnosis import Diagnosis, diagnose
from normcheck.errors import UsageError
from normcheck.execution.in_process import InProcess
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import Plan
from normcheck.properties.property import Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.record import Failure
from normcheck.reproducer import reproducer
from normcheck.wording import failure_text, one_line

__all__ = ["Counterexample", "explain_failure", "told"]


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A violation as the engine met it."""

    plan: Plan
    executor: InProcess
    prop: Property
    case: Case
    outcome: Outcome
    choice: RoundingChoice


def _judge_alone(
    found: Counterexample, case: Case, choice: RoundingChoice
) -> tuple[Outcome, Trial]:
    """Judge one case by itself; one in which the target has died is not called again."""
    trial = Trial(materialise(case), found.executor, found.plan.policy, choice.copy())
    if found.plan.is_fatal(case.id):
        return Outcome(Status.INAPPLICABLE), trial
    with found.executor.aside(found.case.dtype):
        return found.prop.judge(trial), trial


def _predicate(found: Counterexample, choice: RoundingChoice) -> Callable[[Case], bool | None]:
    def fails(case: Case) -> bool | None:
        try:
            outcome, _ = _judge_alone(found, case, choice)
        except UsageError:
            return None  # the op has no meaning for the other shape
        if outcome.status in (Status.HELD, Status.VIOLATED):
            return outcome.status is Status.VIOLATED
        return None

    return fails


def explain_failure(found: Counterexample, *, shorten: bool) -> Failure:
    """Explain a violation.

    Args:
        found: The violation.
        shorten: Whether to shrink the case, to look for a cause and to write a reproducer; else
            the failure is told in one line.
    """
    finding = found.outcome.finding
    assert finding is not None, "a violation has a finding"
    inputs = materialise(found.case)
    if not shorten or finding.dead:
        return _failure(found, inputs, found.outcome, Shrunk(found.case, (), ()), Diagnosis(), "")
    # A target that rounds here one way and there another fails only beside other cases.
    alone = RoundingChoice()
    choice = alone if _predicate(found, alone)(found.case) else found.choice
    shrunk = shrink(found.case, _predicate(found, choice), fits=found.plan.adapter.conform)
    outcome, trial = _judge_alone(found, shrunk.case, choice)
    if outcome.finding is None:
        # It does not fail every time: the case as it was found is all there is to show.
        return _failure(found, inputs, found.outcome, Shrunk(found.case, (), ()), Diagnosis(), "")
    _, whole = _judge_alone(found, found.case, choice)
    return told(found, trial, whole, shrunk, outcome)


def told(
    found: Counterexample, trial: Trial, whole: Trial, shrunk: Shrunk, outcome: Outcome
) -> Failure:
    """Look for the cause of a violation, write its reproducer, and put all of it into words."""
    assert outcome.finding is not None, "a violation has a finding"
    cause = diagnose(trial, whole, outcome.finding, found.prop.name)
    script = reproducer(found.plan.adapter, trial, outcome.finding, found.prop.name)
    return _failure(found, trial.inputs, outcome, shrunk, cause, script)


def _number(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _failure(
    found: Counterexample, inputs: Inputs, outcome: Outcome, shrunk: Shrunk, cause: Diagnosis,
    script: str,
) -> Failure:  # fmt: skip
    finding = outcome.finding
    assert finding is not None, "a violation has a finding"
    worst = finding.worst
    failure = Failure(
        case=shrunk.case.id,
        ratio=worst.ratio if worst is not None else 0.0,
        message="",
        found_in=found.case.id if found.case != shrunk.case else "",
        digest=inputs.digest(),
        tensor=finding.tensor,
        index=list(worst.index) if worst else [],
        expected=_number(worst.reference) if worst else None,
        computed=_number(worst.computed) if worst else None,
        accepted=[_number(worst.lower), _number(worst.upper)] if worst else [],
        ulps=_number(worst.ulps) if worst else None,
        condition=_number(worst.condition) if worst else None,
        matters=list(shrunk.matters),
        does_not_matter=list(shrunk.does_not_matter),
        likely=cause.text,
        kind=cause.kind,
        reproducer=script,
    )
    message = (
        failure_text(found.plan, found.prop.name, inputs, finding, failure)
        if shrunk.matters or shrunk.does_not_matter or script or cause.text
        else one_line(found.plan, found.prop.name, finding, failure)
    )
    return failure.model_copy(update={"message": message})
