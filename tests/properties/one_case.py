"""One property on one case of one target, without a run around it."""

from collections.abc import Callable

import torch

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.property import Outcome
from normcheck.properties.trial import Trial
from normcheck.targets.target import adapt, load


def trial_of(
    target: str | Callable[..., object], case_id: str, *, limit_s: float = 20.0, **policy: str
) -> Trial:
    case = Case.parse(case_id)
    op, declared = catalogue.find(case.op), Policy.parse(f"{k}={v}" for k, v in policy.items())
    if isinstance(target, str):
        adapter = load(target, op, declared)
    else:
        adapter = adapt(target, "a test's target", op, declared)
    executor = InProcess(adapter, torch.device("cpu"), declared, Watchdog(limit_s))
    return Trial(materialise(adapter.conform(case)), executor, declared, RoundingChoice())


def judged(
    name: str,
    target: str | Callable[..., object],
    case_id: str,
    *,
    limit_s: float = 20.0,
    **policy: str,
) -> Outcome:
    """Judge, on one thread as a run does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return registry.find(name).judge(trial_of(target, case_id, limit_s=limit_s, **policy))
    finally:
        torch.set_num_threads(before)
