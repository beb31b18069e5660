"""Running statistics through a life: training, evaluation, saving, converting, in any order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import output_format
from normcheck.execution.life import KINDS, Call, Life, StateError
from normcheck.execution.observation import Observation
from normcheck.execution.way import Way
from normcheck.numerics.comparison import Comparison, Worst
from normcheck.properties.other_inputs import expressible
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import applies, unready
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.stateful import averages_cumulatively

__all__ = ["PROPERTY", "RunningStateMachine"]

_EXAMPLES, _STEPS = 8, 6
_MOMENTA = (0.2, 1.0, 0.0)

_Step = tuple[str, int, int]
"""One of `KINDS`, which batch, which momentum."""


class _ViolatedError(Exception):
    """Tells Hypothesis that a sequence of steps fails."""


@dataclass(slots=True)
class _Bench:
    """One target in front of one case: what all its lives share.

    Attributes:
        trial: The case.
        inputs: Its tensors in training, with buffers.
        momenta: What may be passed for momentum; None is a cumulative average.
        held: Steps that were right.
        refused: What the target said where it refused one.
        choice: Which momentum the module of the life that is going on was made with.
        script: The steps of that life.
        failed: What was wrong after the last of them.
        worst: The element with the largest ratio of all steps.
    """

    trial: Trial
    inputs: Inputs
    momenta: tuple[float | None, ...]
    held: int = 0
    refused: str = ""
    choice: int = 0
    script: list[_Step] = field(default_factory=list)
    failed: Finding | None = None
    worst: Worst | None = None
    _made: dict[tuple[int, bool], Inputs] = field(default_factory=dict)

    def begin(self, choice: int) -> Life:
        """Make the target anew."""
        executor = self.trial.session(Way()).executor
        return Life(executor, self.inputs, self.momenta[choice % len(self.momenta)])

    def batch(self, number: int, *, one: bool) -> Inputs:
        """Return a batch of the case, of one sample or of as many as it has."""
        if (number, one) not in self._made:
            case = self.inputs.case
            shape = (1, *case.shape[1:]) if one else case.shape
            other = (case.seed + 7919 * number) % 2**32
            made = materialise(case.changed(seed=other, shape=shape))
            own = {n: self.inputs.tensors[n] for n in ("weight", "bias") if n in made.tensors}
            self._made[number, one] = replace(made, tensors={**made.tensors, **own})
        return self._made[number, one]

    def take(self, life: Life, step: _Step) -> None:
        """Do one thing that users do with a norm, and judge it.

        Raises:
            _ViolatedError: It is wrong; `failed` says how.
        """
        try:
            self._take(life, step)
        except StateError as error:
            self._fail(life, Finding(error.tensor, error.text, dead=error.dead))
        self.refused = self.refused or life.refused

    def _take(self, life: Life, step: _Step) -> None:
        kind, number, choice = step
        momentum, batch = self.momenta[choice % len(self.momenta)], self.batch(number, one=False)
        if kind == "restore":
            # A module has a state once it was called.
            self._judge(life, life.call("eval", batch, momentum))
            load = life.save()
            self._judge(life, life.call("train", batch, momentum))
            load()
        elif kind == "convert":
            self._judge(life, life.call("eval", batch, momentum))
            life.convert()
            self._judge(life, life.call("train", batch, momentum))
        else:
            batch = self.batch(number, one=kind == "one_sample")
            self._judge(life, life.call(kind, batch, momentum))

    def _fail(self, life: Life, finding: Finding) -> None:
        told = f"after {', '.join(life.steps)}"
        told += f": {finding.detail}" if finding.detail else ""
        self.failed = replace(finding, detail=told)
        raise _ViolatedError

    def _judge(self, life: Life, call: Call | None) -> None:
        """Hold outputs and buffers to the budget, unless a call on fresh tensors exceeds it too."""
        if call is None:
            return
        over = self._over(call.observed, call.inputs)
        if over:
            plain = self.trial.call(call.way, call.inputs)
            known = self._over(plain, call.inputs) if plain.outputs else {}
            for tensor, (policy, found) in over.items():
                if tensor not in known:
                    counts = found.violations, found.judged
                    self._fail(life, Finding(tensor, "", found.worst, policy, *counts))
        self.held += 1

    def _over(self, observed: Observation, inputs: Inputs) -> dict[str, tuple[str, Comparison]]:
        x, dtype = inputs.tensors["x"], output_format(inputs, self.trial.policy)
        if any(y.shape != x.shape or y.dtype != dtype for y in observed.outputs.values()):
            return {}  # the output contract's finding
        judged = self.trial.judge(replace(observed, gradients={}), inputs)
        over = {}
        for tensor, offered in judged.items():
            policy, found = self.trial.choice.choose(tensor, offered)
            if found.ratio > 1.0:
                over[tensor] = (policy, found)
            elif found.worst and (self.worst is None or found.ratio > self.worst.ratio):
                self.worst = found.worst
        return over


class _Machine(RuleBasedStateMachine):
    """What Hypothesis draws: how a target is made, and then one step after another."""

    def __init__(self, bench: _Bench) -> None:
        super().__init__()
        self.bench = bench
        self.life: Life

    @initialize(choice=st.integers(0, 3))
    def make(self, choice: int) -> None:
        """Make the target."""
        if self.bench.failed is None:
            self.bench.choice, self.bench.script = choice, []
            self.life = self.bench.begin(choice)

    @rule(kind=st.sampled_from(KINDS), batch=st.integers(0, 2), choice=st.integers(0, 3))
    def step(self, kind: str, batch: int, choice: int) -> None:
        """Take a step."""
        if self.bench.failed is None:
            self.bench.script.append((kind, batch, choice))
            self.bench.take(self.life, (kind, batch, choice))


class RunningStateMachine(Property):
    """Sequences of calls on one module, or on one pair of buffers."""

    name = "running_state_machine"
    local = True
    parameter = "running_mean"
    heavy = True
    explanation = Explanation(
        claim="Whatever the order of training (momentum 0, 0.2, 1 and None, batches of one "
        "sample), evaluation, frozen parameters, saving, loading and converting: a training step "
        "moves the buffers by the declared average, and nothing else changes a bit of them.",
        why="An update in evaluation mode, a second one when a step is recomputed, one that is "
        "lost on a cast copy or on replaced buffers leaves outputs and gradients as they are and "
        "shows at inference, weeks later.",
        bound="Rule S of docs/budgets.md for one training step, from the buffers before it; bit "
        "for bit in every other step. num_batches_tracked counts training steps.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/20967 (updated although not tracking)",
            "https://github.com/pytorch/pytorch/issues/96136 (updated twice when recomputed)",
            "https://github.com/Oneflow-Inc/oneflow/issues/9381 (update lost on a cast copy)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the lives that Hypothesis draws for one case."""
        if not applies(trial, elements=1300, every=10) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        bench = _bench(trial)
        if bench is None:
            return Outcome(Status.INAPPLICABLE, reason="the target keeps no running statistics")
        _draw(bench)
        if bench.failed is not None:
            worst = bench.failed.worst
            return Outcome(Status.VIOLATED, worst.ratio if worst else 0.0, worst, bench.failed)
        if bench.held:
            ratio = bench.worst.ratio if bench.worst is not None else 0.0
            return Outcome(Status.HELD, ratio, bench.worst)
        return Outcome(Status.UNSUPPORTED, reason=bench.refused or "no step could be made")


def _bench(trial: Trial) -> _Bench | None:
    """Return the case in training with buffers, None where the target cannot express it."""
    case = trial.inputs.case.changed(mode="train", stats="tracked")
    momenta: tuple[float | None, ...] = (trial.adapter.conform(case).momentum,)
    if "momentum" not in trial.adapter.binding.missing:
        momenta = _MOMENTA
    inputs = expressible(trial, case.changed(momentum=momenta[0]))
    if inputs is None or "running_mean" not in inputs.tensors:
        return None
    if averages_cumulatively(trial.adapter, inputs):
        momenta = (*momenta, None)
    return _Bench(trial, inputs, momenta)


def _draw(bench: _Bench) -> None:
    """Let Hypothesis draw sequences until one fails; shorten that one.

    Hypothesis is told of the failure to stop it. It does not shrink: leaving out steps one by one
    takes a tenth of the calls, and no part of what is left fails.
    """

    class Drawn(_Machine):
        def __init__(self) -> None:
            super().__init__(bench)

    options = settings(
        max_examples=_EXAMPLES,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(seed(bench.inputs.case.seed)(Drawn), settings=options)
    except (HypothesisException, _ViolatedError):
        # It takes the sequence again to see that it fails, and finds that nothing goes on.
        if bench.failed is None:
            raise
    if bench.failed is not None and not bench.failed.dead:
        _shorten(bench)


def _shorten(bench: _Bench) -> None:
    """Leave out every step without which the sequence still fails."""
    script, position = list(bench.script), 0
    while position < len(script):
        shorter = script[:position] + script[position + 1 :]
        life = bench.begin(bench.choice)
        try:
            for step in shorter:
                bench.take(life, step)
        except _ViolatedError:
            script = shorter
        else:
            position += 1


PROPERTY = RunningStateMachine()
