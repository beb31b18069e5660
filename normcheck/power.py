"""What a run would have caught: the op's known failure modes, judged on the run's own cases.

A check that lets its own failure modes through on these cases has shown nothing, and is not judged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from normcheck import config
from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.config import Profile
from normcheck.execution.executor import executor_for
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import Plan
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.properties.failure_modes.first_cases import first_cases
from normcheck.properties.property import Property, Status
from normcheck.properties.trial import Trial
from normcheck.record import Caught, Check, NotExercised, Power, Verdict
from normcheck.targets.target import load

__all__ = ["Mutant", "mutants_of", "power_of", "with_power"]

# What changes the right answer is the target's own convention: a mutant keeps to the default one.
_CONVENTIONS = ("eps", "weight", "running_var", "momentum", "output", "gate", "inplace")


@dataclass(slots=True)
class Mutant:
    """A failure mode at work.

    Attributes:
        mode: Which one.
        executor: Calls its implementation.
        policy: What it is judged under.
        caught: Where and by what it was first caught, None while it was not.
        choices: Per dtype, the rounding policies that still explain it.
    """

    mode: FailureMode
    executor: InProcess
    policy: Policy
    caught: Caught | None = None
    choices: dict[str, RoundingChoice] = field(default_factory=dict)

    def meets(self, inputs: Inputs, properties: Sequence[Property]) -> None:
        """Judge it on one case by some properties, until one of them catches it."""
        case = inputs.case
        if self.executor.adapter.conform(case) != case:
            return
        choice = self.choices.setdefault(case.dtype, RoundingChoice())
        trial = Trial(inputs, self.executor, self.policy, choice)
        for prop in properties:
            if prop.judge(trial).status is Status.VIOLATED:
                self.caught = Caught(
                    mode=self.mode.name, kind=self.mode.kind, property=prop.name, case=case.id
                )
                return


def _lane(mode: FailureMode, plan: Plan) -> str:
    """Return the dtype on whose cases a failure mode is judged: where it shows, if it is there."""
    return mode.dtype if mode.dtype in plan.dtypes else config.leading(plan.dtypes)


def mutants_of(plan: Plan) -> tuple[list[Mutant], list[NotExercised]]:
    """Return the failure modes that are judged in this part of a run, and what cannot be."""
    default, declared = Policy(), plan.policy.declared()
    kept = {n: getattr(default, n) for n in _CONVENTIONS if hasattr(default, n)}
    policy = replace(plan.policy, **kept)
    found, without = [], []
    for mode in catalogue.of_op(plan.adapter.op.name):
        if _lane(mode, plan) not in plan.here:
            continue
        if mode.caught_by not in plan.properties:
            reason = f"caught by {mode.caught_by}, which this run leaves out"
            without.append(NotExercised(name=mode.name, reason=reason))
            continue
        missing = [p for p in mode.policies if not _declared(p, declared)]
        if missing:
            reason = f"claimed only with --policy {', '.join(missing)}"
            without.append(NotExercised(name=mode.name, reason=reason))
            continue
        adapter = load(mode.target, plan.adapter.op, policy)
        executor = executor_for(adapter, plan.device, policy, Watchdog(plan.timeout_s))
        executor.threads = 1
        found.append(Mutant(mode, executor, policy))
    for kind in catalogue.classes():
        if kind.cannot:
            without.append(NotExercised(name=kind.id, reason=kind.cannot))
    return found, without


def _declared(policy: str, declared: dict[str, str]) -> bool:
    name, _, value = policy.partition("=")
    return declared.get(name) == value


@contextmanager
def _own_generators() -> Iterator[None]:
    """Give the caller's generators back as they were."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(state)


@_own_generators()
def power_of(plan: Plan, cases: Sequence[Case]) -> Power:
    """Judge the op's failure modes on the cases of a run.

    Each is judged on the cases of the dtype in which it shows, by the property that must catch it,
    until it is caught; what is left is tried by all properties of the run.

    Args:
        plan: The run.
        cases: The cases that it judged.
    """
    started = time.perf_counter()
    mutants, without = mutants_of(plan)
    lanes = {d: [case for case in cases if case.dtype == d] for d in plan.here}
    for mutant in mutants:
        # What shows in another format or a deeper profile seldom shows here: a few cases tell.
        mode = mutant.mode
        here = mode.dtype in plan.dtypes and not _is_deeper(mode.profile, plan.profile)
        met = lanes[_lane(mode, plan)]
        _tried(mutant, met if here else met[:_TRIED_ELSEWHERE], [registry.find(mode.caught_by)])
    missed = []
    for mutant in mutants:
        if mutant.caught is None and mutant.mode.dtype not in plan.dtypes:
            reason = f"shows in {mutant.mode.dtype}, which this run has not judged"
            without.append(NotExercised(name=mutant.mode.name, reason=reason))
        elif mutant.caught is None and _is_deeper(mutant.mode.profile, plan.profile):
            reason = f"shows in profile {mutant.mode.profile}, and this is {plan.profile.name}"
            without.append(NotExercised(name=mutant.mode.name, reason=reason))
        elif mutant.caught is None:
            if not mutant.mode.deadly:
                light = [prop for prop in plan.checked() if not prop.heavy]
                _tried(mutant, lanes[mutant.mode.dtype][:_TRIED_BY_ALL], light)
            missed += [] if mutant.caught else [mutant.mode.name]
    return Power(
        caught=sorted((m.caught for m in mutants if m.caught), key=lambda found: found.mode),
        missed=sorted(missed),
        not_exercised=sorted(without, key=lambda each: each.name),
        elapsed_s=time.perf_counter() - started,
    )


def _is_deeper(profile: str, than: Profile) -> bool:
    """Whether a profile tries what another does not."""
    return config.profile(profile).depth > than.depth


def _tried(mutant: Mutant, cases: Sequence[Case], properties: Sequence[Property]) -> None:
    """Let a mutant meet cases until it is caught; where it is known to be caught, first."""
    known = first_cases().get(mutant.mode.name, [])

    def order(case: Case) -> int:
        return known.index(case.id) if case.id in known else len(known)

    # One that draws does the same in every run, whatever was judged before it.
    random.seed(mutant.mode.name)
    torch.default_generator.manual_seed(random.getrandbits(32))
    for case in sorted(cases, key=order):
        mutant.meets(_built(case), properties)
        if mutant.caught:
            return


_TRIED_BY_ALL = 40
_TRIED_ELSEWHERE = 20
_KEPT_ELEMENTS = 1 << 16
_kept: dict[str, Inputs] = {}


def _built(case: Case) -> Inputs:
    """Build a case; small ones are kept, because every mutant meets them."""
    if case.elements > _KEPT_ELEMENTS:
        return materialise(case)
    if case.id not in _kept:
        if len(_kept) > 400:
            _kept.clear()
        _kept[case.id] = materialise(case)
    return _kept[case.id]


def with_power(checks: Sequence[Check], power: Power) -> list[Check]:
    """Take back every pass of a check that would have let all of its own failure modes through."""
    modes = {mode.name: (mode.caught_by, mode.dtype) for mode in catalogue.modes()}
    caught = {(found.property, Case.parse(found.case).dtype) for found in power.caught}
    missed = {modes[name] for name in power.missed}
    idle = missed - caught
    return [
        check.model_copy(
            update={
                "verdict": Verdict.NOT_JUDGED,
                "reason": "would have caught none of its own failure modes on these cases",
            }
        )
        if check.verdict is Verdict.PASS and (check.property, check.dtype) in idle
        else check
        for check in checks
    ]
