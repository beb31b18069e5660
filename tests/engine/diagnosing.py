"""Let a target fail, and ask for the cause of its first failure, with its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import normcheck
from normcheck.api import make_plan
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.diagnosis import Diagnosis, diagnose
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.properties import registry
from normcheck.properties.trial import Trial

__all__ = ["cause_of"]


def cause_of(
    target: str | Callable[..., object],
    op: str,
    prop: str,
    dtype: str = "float32",
    profile: str = "quick",
    policies: Sequence[str] = (),
) -> Diagnosis | None:
    """Return the cause of the first failure; None where nothing fails, or not when repeated."""
    record = normcheck.run(
        target, op=op, dtypes=[dtype], profile=profile, properties=[prop], policies=policies,
        fail_fast=True, verdict_only=True)  # fmt: skip
    failures = [failure for check in record.checks for failure in check.failures]
    if not failures:
        return None
    first = failures[0]
    plan = make_plan(target, op=op, dtypes=[dtype], profile=profile, properties=[prop],
                     policies=policies)  # fmt: skip
    executor = InProcess(plan.adapter, plan.device, plan.policy, Watchdog(60.0, None, None))
    choice, judge = RoundingChoice(), registry.find(prop).judge
    whole, small = (
        Trial(materialise(Case.parse(case)), executor, plan.policy, choice)
        for case in (first.found_in or first.case, first.case)
    )
    judge(whole)  # two places of rounding contradict each other only where both have been seen
    outcome = judge(small)
    return None if outcome.finding is None else diagnose(small, whole, outcome.finding, prop)
