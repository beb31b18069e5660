"""The engine: plan, cases, executor, judge, events, record."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from normcheck import config, environment
from normcheck.cases.case import Case
from normcheck.cases.corpus import corpus
from normcheck.cases.materialise import materialise
from normcheck.envelope import envelope
from normcheck.errors import TargetError, UsageError
from normcheck.events import CaseJudged, CheckFinished, Listener, RunFinished, RunStarted
from normcheck.execution.executor import executor_for
from normcheck.execution.observation import Trouble
from normcheck.execution.stopwatch import threads
from normcheck.execution.watchdog import Watchdog
from normcheck.explore import explore
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import ENVELOPE, Plan
from normcheck.power import power_of, with_power
from normcheck.properties import registry
from normcheck.properties.property import Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.record import INTERRUPTED, SCHEMA, Check, Record, Unsupported, verdict_of
from normcheck.tally import Tally

__all__ = ["execute"]


@dataclass(slots=True)
class _Lane:
    """What one dtype has seen so far; dtypes share nothing: other processes may judge some.

    Attributes:
        stopped: Why no further case is tried; empty while they are.
    """

    dtype: str
    tallies: list[Tally]
    stopped: str = ""
    choice: RoundingChoice = field(default_factory=RoundingChoice)
    seen: set[str] = field(default_factory=set)


class _Engine:
    """One run."""

    def __init__(self, plan: Plan, listener: Listener, watchdog: Watchdog) -> None:
        self.plan, self.tell = plan, listener
        self.executor = executor_for(plan.adapter, plan.device, plan.policy, watchdog)
        self.started = time.monotonic()
        self.judged: set[str] = set()
        self.cases: list[Case] = []
        self.refusals: dict[tuple[str, str], tuple[int, str, str]] = {}
        self.lanes = [_Lane(dtype, [Tally(p) for p in plan.checked(dtype)]) for dtype in plan.here]
        self.stopped = ""

    @property
    def incomplete(self) -> str:
        """Why not all was tried, empty if all was."""
        return self.stopped or next(filter(None, (lane.stopped for lane in self.lanes)), "")

    def run(self) -> list[Check]:
        try:
            # What has broken kernels before comes first in every dtype: most faults show there.
            for depth in sorted({1, self.plan.profile.depth}):
                for lane in self.lanes:
                    self._corpus(lane, depth)
            for position, lane in enumerate(self.lanes):
                self._explore(lane, len(self.lanes) - position)
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED
        checks = []
        for lane in self.lanes:
            for tally in lane.tallies:
                if tally.prop.silent and tally.untouched and len(lane.tallies) > 1:
                    continue
                shorten = self.stopped != INTERRUPTED
                check = tally.check(
                    self.plan, self.executor, lane.dtype, lane.choice, shorten=shorten
                )
                checks.append(check)
                self.tell(CheckFinished(check))
        return checks

    def _corpus(self, lane: _Lane, depth: int) -> None:
        for case in corpus(self.plan.adapter.op, lane.dtype, depth):
            if self._is_over(lane):
                return
            self._case(case, lane)

    def _explore(self, lane: _Lane, left: int) -> None:
        """Draw cases, for an even share of the time that is left."""
        if self._is_over(lane):
            return
        budget, now = self.plan.profile.time_budget_s, time.monotonic()
        deadline = now + (self.started + (budget or 0.0) - now) / left

        def judge(case: Case) -> float:
            """Judge one case, and return its worst ratio."""
            return self._case(case, lane)

        def enough() -> bool:
            late = budget is not None and time.monotonic() > deadline
            return self._is_over(lane) or late

        explore(self.plan, lane.dtype, judge, enough)

    def _is_over(self, lane: _Lane) -> bool:
        return bool(self.stopped or lane.stopped)

    def _case(self, case: Case, lane: _Lane) -> float:
        case = self.plan.adapter.conform(case)
        if case.id in lane.seen:
            return 0.0
        lane.seen.add(case.id)
        before = lane.choice.copy()
        trial = Trial(materialise(case), self.executor, self.plan.policy, lane.choice)
        violated, worst = [], 0.0
        self.cases.append(case)
        for tally in lane.tallies:
            if self._has_enough(lane, tally, case):
                continue
            if self.plan.died(case.id)[0]:
                outcome = self._death(case, tally.prop)
            else:
                watchdog = self.executor.watchdog
                watchdog.doing, watchdog.case = tally.prop.name, case.id
                outcome = tally.prop.judge(trial)
            tally.add(trial, outcome, before)
            worst = max(worst, outcome.ratio)
            if outcome.status is Status.VIOLATED:
                violated.append(tally.prop.name)
            if outcome.status in (Status.HELD, Status.VIOLATED):
                self.judged.add(case.id)
            if violated and self.plan.fail_fast:
                break
        if not self.plan.died(case.id)[0]:
            self._note_trouble(trial, lane)
        self.tell(CaseJudged(case.id, case.dtype, tuple(violated)))
        if violated and self.plan.fail_fast:
            self.stopped = "stopped at the first failure, as --fail-fast asks"
        return worst

    def _has_enough(self, lane: _Lane, tally: Tally, case: Case) -> bool:
        """Whether a property has killed, or a further dtype need not be called so once more."""
        enough = self.plan.profile.enough
        leads = lane.dtype == config.leading(self.plan.dtypes)
        if self.plan.is_deadly(lane.dtype, tally.prop.name) and not self.plan.died(case.id)[0]:
            return True
        if enough is None or leads or registry.is_plain(tally.prop.name):
            return False
        return tally.judged >= enough

    def _death(self, case: Case, prop: Property) -> Outcome:
        """Say of a case in which the target ended its process what became of it."""
        name, how = self.plan.died(case.id)
        if prop.name != name:
            return Outcome(Status.INAPPLICABLE, reason=f"the target {how}, in {name}")
        finding = Finding("target", f"the target {how}", dead=True)
        return Outcome(Status.VIOLATED, finding=finding)

    def _note_trouble(self, trial: Trial, lane: _Lane) -> None:
        case = trial.inputs.case
        for observed in (trial.forward, trial.backward):
            raised = observed.raised
            if raised is None:
                continue
            if raised.trouble in (Trouble.HUNG, Trouble.EXITED):
                lane.stopped = f"stopped at {case.id}: the target {raised.text}"
            elif raised.trouble in (Trouble.REFUSED, Trouble.NO_GRADIENT):
                # "got input size [4, 1]" and "... [7, 1]" are one refusal.
                key = (case.dtype, re.sub(r"\d+", "#", raised.text))
                count, example, text = self.refusals.get(key, (0, case.id, raised.text))
                self.refusals[key] = (count + 1, example, text)
            return


def execute(
    plan: Plan,
    listener: Listener,
    abandon: Callable[[str], None] | None = None,
    noted: Callable[[str, str], None] | None = None,
) -> Record:
    """Run a plan and return its record.

    Args:
        plan: What to do.
        listener: Told of everything as it happens.
        abandon: Called from a thread with a case id when a call cannot be interrupted.
        noted: Called with a case id before each call.

    Raises:
        TargetError: The target returns something else than the op's outputs already in a first
            plain call, so that nothing it does could be judged.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    engine = _Engine(plan, listener, Watchdog(plan.timeout_s, abandon, noted))
    with threads(1):
        return _recorded(engine, started, clock)


def _recorded(engine: _Engine, started: datetime, clock: float) -> Record:
    """Run, and write down how it went."""
    plan, listener = engine.plan, engine.tell
    _probe(engine)
    ids = tuple(plan.check_id(d, p.name) for d in plan.here for p in plan.checked(d))
    tables = sum(len(corpus(plan.adapter.op, d, plan.profile.depth)) for d in plan.here)
    cases = tables + len(plan.here) * plan.profile.drawn
    adapter = plan.adapter
    binding, notes = adapter.binding.describe(), adapter.notes
    listener(RunStarted(adapter.text, adapter.op.name, binding, notes, ids, cases))
    checks = engine.run()
    power, limits = None, []
    whole = tuple(lane.dtype for lane in engine.lanes if not lane.stopped)
    if whole and not engine.stopped and not plan.verdict_only:
        power = power_of(replace(plan, part=whole), engine.cases)
        checks = with_power(checks, power)
        if not engine.incomplete:
            engine.executor.watchdog.doing = ENVELOPE
            limits = envelope(plan, engine.executor, plan.profile.longest)
    record = Record(
        schema=SCHEMA,
        verdict=verdict_of(checks, engine.incomplete),
        target=adapter.text,
        source=environment.source_of(adapter.written),
        op=adapter.op.name,
        binding=binding,
        notes=list(notes),
        profile=plan.profile.name,
        seed=plan.seed,
        command=plan.command,
        policies=plan.policy.declared(),
        checks=checks,
        unsupported=[
            Unsupported(dtype=dtype, message=text, cases=count, example=example)
            for (dtype, _), (count, example, text) in sorted(engine.refusals.items())
        ],
        cases_judged=len(engine.judged),
        incomplete=engine.incomplete,
        power=None if engine.incomplete else power,
        envelope=limits,
        environment=environment.describe(plan.device, engine.executor.threads),
        started_at=started.isoformat(timespec="seconds"),
        elapsed_s=time.perf_counter() - clock,
        elapsed_target_s=engine.executor.stopwatch.target_s,
        elapsed_judge_s=engine.executor.stopwatch.judge_s,
    )
    listener(RunFinished(record))
    return record


def _probe(engine: _Engine) -> None:
    """Call once on a plain case: a wrong kind of result is told before anything is judged."""
    plan = engine.plan
    op = plan.adapter.op
    shape = "4x8" if op.family == "rows" else "4x8x5"
    groups = "/groups=2" if op.parameter("num_groups") else ""
    for short in ("f32", "bf16", "f16", "f64"):
        case = plan.adapter.conform(Case.parse(f"nc1:{op.name}/{short}/{shape}/plain{groups}"))
        try:
            observed = engine.executor.forward(materialise(case))
        except UsageError:
            continue
        raised = observed.raised
        if raised is not None and raised.trouble is Trouble.UNEXPECTED:
            raise TargetError(
                f"{raised.text}; wrap it so that it does: def {op.signature().split(' ->')[0]}: ..."
            )
        if raised is None or raised.trouble in (Trouble.HUNG, Trouble.EXITED):
            return
