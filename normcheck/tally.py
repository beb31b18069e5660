"""What one check has seen so far, and what it says in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from normcheck.cases.case import Case
from normcheck.execution.in_process import InProcess
from normcheck.failure import Counterexample, explain_failure
from normcheck.numerics.comparison import Worst
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import SHRINKING, Plan
from normcheck.properties.property import Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.record import Check, Failure, Measurement, Verdict

__all__ = ["Tally"]

LISTED_FAILURES = 10


@dataclass(slots=True)
class Tally:
    """One property on the cases of one dtype.

    Attributes:
        prop: The property.
        judged: Cases that were judged.
        violations: Violations, each with the rounding policies that were open before it.
    """

    prop: Property
    judged: int = 0
    violations: list[tuple[Case, Outcome, RoundingChoice]] = field(default_factory=list)
    _unsupported: int = 0
    _powerless: int = 0
    _reasons: dict[str, int] = field(default_factory=dict)
    _measured: list[tuple[float, Measurement]] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Whether no case was any of its business."""
        return not (self.judged or self.violations or self._unsupported or self._powerless)

    def add(self, trial: Trial, outcome: Outcome, choice: RoundingChoice) -> None:
        """Count what one case says."""
        case = trial.inputs.case.id
        match outcome.status:
            case Status.UNSUPPORTED:
                self._unsupported += 1
            case Status.POWERLESS:
                self._powerless += 1
            case Status.HELD | Status.VIOLATED:
                self.judged += 1
        if outcome.reason:
            self._reasons[outcome.reason] = self._reasons.get(outcome.reason, 0) + 1
        if outcome.worst is not None:
            self._measured.append((outcome.ratio, _measurement(case, outcome.worst)))
        if outcome.status is Status.VIOLATED:
            self.violations.append((trial.inputs.case, outcome, choice))

    def check(
        self, plan: Plan, executor: InProcess, dtype: str, choice: RoundingChoice, *, shorten: bool
    ) -> Check:
        """Return the verdict on all cases.

        Args:
            plan: The run.
            executor: Calls the target, to shrink the first violation.
            dtype: Name of the format.
            choice: The rounding policies that explain all cases.
            shorten: Whether there is time to shrink.
        """
        name = self.prop.name
        dropped = {c.id for c, o, _ in self.violations if _told(o, plan, executor, dtype)}
        self.violations = [found for found in self.violations if found[0].id not in dropped]
        measured = [each for each in self._measured if each[1].case not in dropped]
        worst = max(measured, key=lambda each: each[0], default=None)
        verdict, beside = Verdict.PASS, plan.died_beside(dtype, name)
        if self.violations or beside:
            verdict = Verdict.FAIL
        elif self.judged == 0 or dropped:
            verdict = Verdict.NOT_JUDGED
        reason = ""
        if dropped and verdict is Verdict.NOT_JUDGED:
            reason = "no more wrong than plain calls are: their check fails"
        elif verdict is Verdict.NOT_JUDGED:
            commonest = sorted(self._reasons, key=lambda text: -self._reasons[text])
            reason = commonest[0] if commonest else "no case of this run applies"
        tensors = {m: p for m, p in choice.explaining().items() if _belongs(m, name)}
        return Check(
            id=plan.check_id(dtype, name),
            property=name,
            dtype=dtype,
            device=str(plan.device),
            verdict=verdict,
            cases=self.judged + len(beside),
            worst_ratio=worst[0] if worst else 0.0,
            worst_case=worst[1].case if worst else "",
            failing_cases=len(self.violations) + len(beside),
            failures=self._failures(plan, executor, dtype, shorten=shorten),
            rounding=tensors if verdict is Verdict.PASS else {},
            unsupported=self._unsupported,
            without_power=self._powerless,
            reason=reason,
            measurements=[measurement for _, measurement in measured],
        )

    def _failures(
        self, plan: Plan, executor: InProcess, dtype: str, *, shorten: bool
    ) -> list[Failure]:
        found, deaths = [], plan.died_beside(dtype, self.prop.name)
        # A target that dies of smaller cases is not asked for more of them.
        shorten = shorten and not deaths
        executor.watchdog.doing, executor.watchdog.case = f"{SHRINKING}{self.prop.name}", ""
        for position, (case, outcome, before) in enumerate(self.violations[:LISTED_FAILURES]):
            example = Counterexample(plan, executor, self.prop, case, outcome, before)
            with executor.aside(case.dtype):
                found.append(explain_failure(example, shorten=shorten and position == 0))
        return found + [
            Failure(case=case, ratio=0.0, message=f"{self.prop.name}: the target {how}")
            for case, how in deaths
        ]


def _measurement(case: str, worst: Worst) -> Measurement:
    return Measurement(
        case=case,
        ratio=_rounded(worst.ratio, 5),
        condition=_rounded(worst.condition, 3),
        ulps=_rounded(worst.ulps, 3),
        magnitude=None if worst.magnitude is None else _rounded(worst.magnitude, 3),
        eps_share=None if worst.eps_share is None else _rounded(worst.eps_share, 3),
        length=worst.length,
    )


def _told(outcome: Outcome, plan: Plan, executor: InProcess, dtype: str) -> bool:
    """Whether a special call is no more wrong than plain ones are, and their check says so."""
    finding = outcome.finding
    if finding is None or not finding.detail or finding.worst is None:
        return False
    tensor = finding.tensor.removesuffix("_with_gradients")
    if tensor.startswith(("tangent_", "grad2_")):
        tensor = "y"  # derivatives of what is wrong are wrong
    kinds = {"grad": "gradients", "running": "running_statistics"}
    if kinds.get(tensor.partition("_")[0], "forward_accuracy") not in plan.properties:
        return False
    plain = executor.worst.get((dtype, tensor), 0.0)
    return plain > 1.0 and finding.worst.ratio <= plain


def _rounded(value: float, digits: int) -> float:
    """Keep a number that JSON can carry, in as many digits as a reader can use.

    What is over budget stays so: it is rounded to no less than the next number above 1.
    """
    limit = 1e300
    kept = float(f"{max(-limit, min(limit, value)):.{digits}g}") if value == value else limit
    return 1.0 + 10.0 ** (1 - digits) if value > 1.0 >= kept else kept


def _belongs(tensor: str, prop: str) -> bool:
    """Rounding policies are shown with the check that judges the tensor."""
    if prop == "gradients":
        return tensor.startswith("grad_")
    return prop == "forward_accuracy" and tensor in ("y", "residual_out")
