"""In evaluation mode the gradient is that of fixed statistics, whatever was called before."""

from __future__ import annotations

import copy
from dataclasses import replace

from normcheck.execution.formula import wrong_function
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import another, expressible
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.stateful import Stateful

__all__ = ["PROPERTY", "EvalGradients"]

_TAKEN = Way(gradients=True)


class EvalGradients(Property):
    """dx, dweight and dbias beside running statistics that are far from the batch's."""

    name = "eval_gradients"
    parameter = "running_mean"
    explanation = Explanation(
        claim="In evaluation mode dx is dy weight / sqrt(running_var + eps), dweight and dbias "
        "follow from the running statistics; so they do when called again, after a training call, "
        "with a training call between forward and backward, and with weight and bias frozen.",
        why="A backward that knows only the formula of training, or takes the statistics that the "
        "last training call saved, fine-tunes a frozen network with wrong gradients.",
        bound="Rules B1 to B3 of docs/budgets.md with fixed statistics, or the bits of the call "
        "on its own.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/586 (stale batch statistics)",
            "https://github.com/pytorch/xla/issues/913 (gradient of training)",
            "https://github.com/apache/mxnet/issues/9580 (gradient of training)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in evaluation mode, whatever its own mode is."""
        if not applies(trial, elements=1 << 13, every=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        case = trial.inputs.case.changed(mode="eval", stats="tracked")
        inputs = expressible(trial, case)
        if inputs is None or "running_mean" not in inputs.tensors:
            return Outcome(Status.INAPPLICABLE, reason="the target keeps no running statistics")
        executor = trial.session(Way()).executor
        evaluated = Trial(inputs, executor, trial.policy, trial.choice)
        outcome = unready(evaluated)
        if outcome is not None:
            return outcome
        if not evaluated.backward.gradients:
            return Outcome(Status.UNSUPPORTED, reason="no gradients to judge")
        probes = Probes(evaluated)
        _formula(evaluated, probes)
        _repeat(evaluated, probes)
        _frozen(evaluated, probes)
        _beside_training(evaluated, probes)
        return probes.outcome()


def _formula(trial: Trial, probes: Probes) -> None:
    """Fixed statistics, not those of the batch; the precision is for `gradients` to judge."""
    taken = replace(trial.backward, outputs={})
    for tensor, found in wrong_function(taken, trial.inputs, trial.policy):
        text, counts = "in evaluation mode", (found.violations, found.judged)
        probes.finding = probes.finding or Finding(tensor, text, found.worst, "", *counts)
        probes.worst = probes.finding.worst


def _repeat(trial: Trial, probes: Probes) -> None:
    session = trial.session(_TAKEN)
    session.run()
    words = "when called again in evaluation mode"
    probes.hold(words, session.run(), base=trial.backward)


def _frozen(trial: Trial, probes: Probes) -> None:
    """The usual fine-tuning: evaluation mode, and only x needs a gradient."""
    words = "in evaluation mode with weight and bias frozen"
    observed = trial.call(Way(gradients=True, wanted=("x",)))
    if observed.raised is None and "x" not in observed.gradients:
        probes.fail("grad_x", f"no gradient reaches x {words}")
    probes.hold(words, observed, base=trial.backward)


def _beside_training(trial: Trial, probes: Probes) -> None:
    """A training call on other values before, and between forward and backward."""
    evaluated, trained = trial.inputs, another(trial)
    case = trained.case.changed(mode="train")
    tensors = {**evaluated.tensors, "x": trained.tensors["x"]}
    trained = replace(trained, case=case, tensors=tensors)
    session = trial.session(_TAKEN)
    executor = copy.copy(session.executor)
    executor.adapter = Stateful(trial.adapter)
    executor.call(trained, _TAKEN)
    state = executor.adapter.state()
    if state:
        # The same module, or the same buffers, with what training made of them.
        later = replace(evaluated, tensors={**evaluated.tensors, **state})
        words = "in evaluation mode after a training call on other values"
        base = trial.call(_TAKEN, later)
        probes.hold(words, executor.call(later, _TAKEN), later, base)
    forward = session.forward()
    trial.call(_TAKEN, trained)
    whole = replace(session.backward(), outputs=forward.outputs)
    words = "in evaluation mode with a training call before its backward"
    probes.hold(words, whole, base=trial.backward)


PROPERTY = EvalGradients()
