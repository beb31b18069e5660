"""One case again, by its id: what every property says about it."""

from __future__ import annotations

from dataclasses import dataclass

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.cases.shrink import Shrunk
from normcheck.errors import UsageError
from normcheck.execution.executor import executor_for
from normcheck.execution.in_process import InProcess
from normcheck.execution.stopwatch import threads
from normcheck.execution.watchdog import Watchdog
from normcheck.failure import Counterexample, told
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import Plan
from normcheck.properties.property import Outcome, Status
from normcheck.properties.trial import Trial
from normcheck.ratio import ratio_text

__all__ = ["Replay", "replay"]

_GLYPHS = {Status.HELD: "✓", Status.VIOLATED: "✗"}


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer.

    Attributes:
        text: For a person.
        script: The reproducer of the first wrong number, "" without one.
        status: 1 while any property is violated, 0 if some hold and none is, else 4.
    """

    text: str
    script: str
    status: int


def replay(plan: Plan, case: Case) -> Replay:
    """Judge one case with every property of the plan.

    Raises:
        UsageError: The case is of another op, or the target cannot express it.
    """
    if case.op != plan.adapter.op.name:
        raise UsageError(
            f"{case.id} is of {case.op}, but {plan.adapter.text} is judged as "
            f"{plan.adapter.op.name}"
        )
    fitting = plan.adapter.conform(case)
    if fitting != case:
        raise UsageError(
            f"{plan.adapter.text} cannot express {case.id} ({plan.adapter.binding.describe()}); "
            f"the nearest case that it can is {fitting.id}"
        )
    executor = executor_for(plan.adapter, plan.device, plan.policy, Watchdog(plan.timeout_s))
    with threads(1):
        return _answer(plan, case, executor)


def _answer(plan: Plan, case: Case, executor: InProcess) -> Replay:
    inputs = materialise(case)
    trial = Trial(inputs, executor, plan.policy, RoundingChoice())
    lines = [f"{plan.adapter.text}  {case.id}", f"inputs have the digest {inputs.digest()}"]
    blocks: list[str] = []
    script, seen = "", set()
    for prop in plan.checked():
        outcome = prop.judge(trial)
        seen.add(outcome.status)
        lines.append(_line(prop.name, outcome))
        if outcome.status is Status.VIOLATED:
            found = Counterexample(plan, executor, prop, case, outcome, RoundingChoice())
            failure = told(found, trial, trial, Shrunk(case, (), ()), outcome)
            script = script or failure.reproducer
            blocks.append(failure.message)
    status = 1 if Status.VIOLATED in seen else 0 if Status.HELD in seen else 4
    text = "\n".join(lines) + "".join(f"\n\n{block}" for block in blocks)
    return Replay(text, script, status)


def _line(name: str, outcome: Outcome) -> str:
    glyph = _GLYPHS.get(outcome.status, "?")
    ratio = f"  {ratio_text(outcome.ratio)}" if outcome.worst is not None else ""
    reason = f"  {outcome.reason}" if outcome.reason else ""
    return f"  {glyph} {name}  {outcome.status}{ratio}{reason}"
