"""The engine: plan, cases, executor, judge, events, record."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from normcheck import environment
from normcheck.cases.case import Case
from normcheck.cases.corpus import corpus
from normcheck.cases.materialise import materialise
from normcheck.errors import TargetError, UsageError
from normcheck.events import CaseJudged, CheckFinished, Listener, RunFinished, RunStarted
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Trouble
from normcheck.execution.stopwatch import threads
from normcheck.execution.watchdog import Watchdog
from normcheck.explore import explore
from normcheck.failure import Counterexample, explain_failure
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import Plan
from normcheck.properties.property import Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.record import INTERRUPTED, SCHEMA, Check, Measurement, Record, Unsupported, Verdict

__all__ = ["execute"]

LISTED_FAILURES = 10


@dataclass(slots=True)
class _Tally:
    """What one check has seen so far."""

    prop: Property
    judged: int = 0
    unsupported: int = 0
    powerless: int = 0
    worst: float = 0.0
    worst_case: str = ""
    reasons: dict[str, int] = field(default_factory=dict)
    violations: list[tuple[Case, Outcome, RoundingChoice]] = field(default_factory=list)
    failing: int = 0
    measurements: list[Measurement] = field(default_factory=list)

    def add(self, trial: Trial, outcome: Outcome, choice: RoundingChoice) -> None:
        case = trial.inputs.case.id
        match outcome.status:
            case Status.UNSUPPORTED:
                self.unsupported += 1
            case Status.POWERLESS:
                self.powerless += 1
            case Status.HELD | Status.VIOLATED:
                self.judged += 1
        if outcome.reason:
            self.reasons[outcome.reason] = self.reasons.get(outcome.reason, 0) + 1
        if outcome.worst is not None:
            w = outcome.worst
            if outcome.ratio > self.worst or not self.worst_case:
                self.worst, self.worst_case = outcome.ratio, case
            self.measurements.append(
                Measurement(
                    case=case, ratio=w.ratio, condition=_finite(w.condition), ulps=_finite(w.ulps)
                )
            )
        if outcome.status is Status.VIOLATED:
            self.failing += 1
            if len(self.violations) < LISTED_FAILURES:
                self.violations.append((trial.inputs.case, outcome, choice))


def _finite(value: float) -> float:
    """Keep a number that JSON can carry."""
    limit = 1e300
    return max(-limit, min(limit, value)) if value == value else limit


class _Engine:
    """One run."""

    def __init__(self, plan: Plan, listener: Listener, watchdog: Watchdog) -> None:
        self.plan, self.tell = plan, listener
        self.executor = InProcess(plan.adapter, plan.device, plan.policy, watchdog)
        self.deadline: float | None = None
        if plan.profile.time_budget_s is not None:
            self.deadline = time.monotonic() + plan.profile.time_budget_s
        self.judged: set[str] = set()
        self.refusals: dict[tuple[str, str], tuple[int, str, str]] = {}
        self.stopped = ""

    def run(self) -> list[Check]:
        checks: list[Check] = []
        for dtype in self.plan.dtypes:
            checks += self._dtype(dtype)
            if self.stopped:
                break
        return checks

    def _dtype(self, dtype: str) -> list[Check]:
        tallies = [_Tally(prop) for prop in self.plan.checked()]
        choice = RoundingChoice()
        seen: set[str] = set()

        def judge(case: Case) -> float:
            """Judge one case, and return its worst ratio."""
            return self._case(case, tallies, choice, seen)

        try:
            for case in corpus(self.plan.adapter.op, dtype, self.plan.profile.depth):
                judge(case)
                if self.stopped:
                    break
            if not self.stopped:
                explore(self.plan, dtype, judge, lambda: bool(self.stopped) or self._late())
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED
        checks = [self._check(tally, dtype, choice) for tally in tallies]
        for check in checks:
            self.tell(CheckFinished(check))
        return checks

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _case(
        self, case: Case, tallies: list[_Tally], choice: RoundingChoice, seen: set[str]
    ) -> float:
        case = self.plan.adapter.conform(case)
        if case.id in seen:
            return 0.0
        seen.add(case.id)
        before = choice.copy()
        trial = Trial(materialise(case), self.executor, self.plan.policy, choice)
        violated, worst = [], 0.0
        for tally in tallies:
            outcome = tally.prop.judge(trial)
            tally.add(trial, outcome, before)
            worst = max(worst, outcome.ratio)
            if outcome.status is Status.VIOLATED:
                violated.append(tally.prop.name)
            if outcome.status in (Status.HELD, Status.VIOLATED):
                self.judged.add(case.id)
        self._note_trouble(trial, case)
        self.tell(CaseJudged(case.id, case.dtype, tuple(violated)))
        if violated and self.plan.fail_fast:
            self.stopped = "stopped at the first failure, as --fail-fast asks"
        return worst

    def _note_trouble(self, trial: Trial, case: Case) -> None:
        for observed in (trial.forward, trial.backward):
            raised = observed.raised
            if raised is None:
                continue
            if raised.trouble in (Trouble.HUNG, Trouble.EXITED):
                self.stopped = f"stopped at {case.id}: the target {raised.text}"
            elif raised.trouble in (Trouble.REFUSED, Trouble.NO_GRADIENT):
                # "got input size [4, 1]" and "... [7, 1]" are one refusal.
                key = (case.dtype, re.sub(r"\d+", "#", raised.text))
                count, example, text = self.refusals.get(key, (0, case.id, raised.text))
                self.refusals[key] = (count + 1, example, text)
            return

    def _check(self, tally: _Tally, dtype: str, choice: RoundingChoice) -> Check:
        name = tally.prop.name
        verdict = Verdict.PASS
        if tally.failing:
            verdict = Verdict.FAIL
        elif tally.judged == 0:
            verdict = Verdict.NOT_JUDGED
        reason = ""
        if verdict is Verdict.NOT_JUDGED:
            commonest = sorted(tally.reasons, key=lambda text: -tally.reasons[text])
            reason = commonest[0] if commonest else "no case of this run applies"
        failures = []
        for position, (case, outcome, before) in enumerate(tally.violations):
            found = Counterexample(self.plan, self.executor, tally.prop, case, outcome, before)
            shorten = position == 0 and self.stopped != INTERRUPTED
            failures.append(explain_failure(found, shorten=shorten))
        tensors = {m: p for m, p in choice.explaining().items() if _belongs(m, name)}
        return Check(
            id=self.plan.check_id(dtype, name),
            property=name,
            dtype=dtype,
            device=str(self.plan.device),
            verdict=verdict,
            cases=tally.judged,
            worst_ratio=tally.worst,
            worst_case=tally.worst_case,
            failing_cases=tally.failing,
            failures=failures,
            rounding=tensors if verdict is Verdict.PASS else {},
            unsupported=tally.unsupported,
            without_power=tally.powerless,
            reason=reason,
            measurements=tally.measurements,
        )


def _belongs(tensor: str, prop: str) -> bool:
    """Rounding policies are shown with the check that judges the tensor."""
    if prop == "gradients":
        return tensor.startswith("grad_")
    return prop == "forward_accuracy" and tensor in ("y", "residual_out")


def execute(
    plan: Plan,
    listener: Listener,
    abandon: Callable[[str], None] | None = None,
    noted: Callable[[str], None] | None = None,
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
    ids = tuple(plan.check_id(d, p) for d in plan.dtypes for p in plan.properties)
    tables = sum(len(corpus(plan.adapter.op, d, plan.profile.depth)) for d in plan.dtypes)
    cases = tables + len(plan.dtypes) * plan.profile.drawn
    adapter = plan.adapter
    binding, notes = adapter.binding.describe(), adapter.notes
    listener(RunStarted(adapter.text, adapter.op.name, binding, notes, ids, cases))
    checks = engine.run()
    record = Record(
        schema=SCHEMA,
        verdict=_verdict(checks, engine.stopped),
        target=adapter.text,
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
        incomplete=engine.stopped,
        environment=environment.describe(plan.device, engine.executor.threads),
        started_at=started.isoformat(timespec="seconds"),
        elapsed_s=time.perf_counter() - clock,
        elapsed_target_s=engine.executor.stopwatch.target_s,
        elapsed_judge_s=engine.executor.stopwatch.judge_s,
    )
    listener(RunFinished(record))
    return record


def _verdict(checks: list[Check], stopped: str) -> Verdict:
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if stopped == INTERRUPTED:
        return Verdict.NOT_JUDGED  # half a run that found nothing is not green
    return Verdict.PASS if Verdict.PASS in verdicts else Verdict.NOT_JUDGED


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
