"""What one check has seen so far, and what it says in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from normcheck.cases.case import Case
from normcheck.execution.in_process import InProcess
from normcheck.failure import Counterexample, explain_failure
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.plan import Plan
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
    _worst: float = 0.0
    _worst_case: str = ""
    _reasons: dict[str, int] = field(default_factory=dict)
    _measurements: list[Measurement] = field(default_factory=list)

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
            w = outcome.worst
            if outcome.ratio > self._worst or not self._worst_case:
                self._worst, self._worst_case = outcome.ratio, case
            self._measurements.append(
                Measurement(
                    case=case,
                    ratio=_rounded(w.ratio, 5),
                    condition=_rounded(w.condition, 3),
                    ulps=_rounded(w.ulps, 3),
                    magnitude=None if w.magnitude is None else _rounded(w.magnitude, 3),
                    eps_share=None if w.eps_share is None else _rounded(w.eps_share, 3),
                    length=w.length,
                )
            )
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
        told = [v for v in self.violations if not _told(v[1], plan, executor, dtype)]
        dropped, self.violations = len(self.violations) - len(told), told
        verdict = Verdict.PASS
        if self.violations:
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
            cases=self.judged,
            worst_ratio=self._worst,
            worst_case=self._worst_case,
            failing_cases=len(self.violations),
            failures=self._failures(plan, executor, shorten=shorten),
            rounding=tensors if verdict is Verdict.PASS else {},
            unsupported=self._unsupported,
            without_power=self._powerless,
            reason=reason,
            measurements=self._measurements,
        )

    def _failures(self, plan: Plan, executor: InProcess, *, shorten: bool) -> list[Failure]:
        found = []
        executor.watchdog.doing, executor.watchdog.case = self.prop.name, ""
        for position, (case, outcome, before) in enumerate(self.violations[:LISTED_FAILURES]):
            example = Counterexample(plan, executor, self.prop, case, outcome, before)
            with executor.aside(case.dtype):
                found.append(explain_failure(example, shorten=shorten and position == 0))
        return found


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
