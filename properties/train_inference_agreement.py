"""What is trained is what is deployed: training and inference compute one function."""

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
from normcheck.targets.adapter import Adapter
from normcheck.targets.module import ModuleAdapter
from normcheck.targets.stateful import BUFFERS, Stateful

__all__ = ["PROPERTY", "TrainInferenceAgreement"]


class TrainInferenceAgreement(Property):
    """One target in both modes, on the same values."""

    name = "train_inference_agreement"
    local = True
    explanation = Explanation(
        claim="Without running statistics a module gives the same in training and in evaluation "
        "mode. With them, a training step with momentum 1 leaves the batch's statistics, and "
        "evaluation on the same batch gives what these say: the output of training but for "
        "n/(n - 1) in the variance.",
        why="A separate path for inference, a folded scale that is not renewed or buffers that "
        "mean something else than inference reads give a model that was never trained.",
        bound="No budget of its own. The output of training, the buffers and the output of "
        "evaluation, given these very buffers, are each within theirs (rules F and S of "
        "docs/budgets.md) under one rounding policy, so they agree to the sum of the three.",
        bugs=(
            "https://github.com/fla-org/flash-linear-attention/issues/63 (paths that differ)",
            "https://github.com/apache/tvm/pull/14963 (evaluation ignores the buffers)",
            "https://github.com/ultralytics/yolov3/issues/807 (folded scale)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Targets that have two modes."""
        return adapter.op.tracks_statistics or isinstance(adapter, ModuleAdapter)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in both modes."""
        if not applies(trial, elements=1 << 13, every=2, offset=1) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        if trial.inputs.op.tracks_statistics:
            return _through_buffers(trial)
        probes = Probes(trial)
        inputs = replace(trial.inputs, case=trial.inputs.case.changed(mode="eval"))
        probes.ask("in evaluation mode", Way(), inputs, trial.forward)
        if trial.backward.gradients:
            words = "in evaluation mode with gradients"
            probes.ask(words, Way(gradients=True), inputs, trial.backward)
        return probes.outcome()


def _through_buffers(trial: Trial) -> Outcome:
    """Train with momentum 1, then evaluate the same batch with what that left."""
    case = trial.inputs.case.changed(mode="train", stats="tracked", momentum=1.0)
    inputs = expressible(trial, case)
    if inputs is None or "running_mean" not in inputs.tensors:
        return Outcome(Status.INAPPLICABLE, reason="the target keeps no running statistics")
    if inputs.reduction.count < 2:
        return Outcome(Status.INAPPLICABLE, reason="one value has no unbiased variance")
    kept = copy.copy(trial.session(Way()).executor)
    kept.adapter = Stateful(trial.adapter)
    probes = Probes(trial)
    state = {name: inputs.tensors[name] for name in BUFFERS}
    # A scale that is folded at the first evaluation is there before training.
    calls = [("eval", "in evaluation mode", inputs)]
    # Momentum 1: nothing of the first batch may be left after the second.
    for number, batch in enumerate((another(trial), inputs), 1):
        step = f"training step {number} with momentum 1"
        calls.append(("train", f"in {step}", batch))
        calls.append(("eval", f"in evaluation mode on the batch of {step}", batch))
    for mode, words, batch in calls:
        tensors = {**inputs.tensors, **state, "x": batch.tensors["x"]}
        given = replace(inputs, case=case.changed(mode=mode), tensors=tensors)
        observed = kept.call(given, Way())
        probes.hold(words, observed, given, trial.call(Way(), given))
        if probes.finding is not None or observed.raised is not None:
            break
        # A fresh target may get it wrong in the same way.
        for tensor, found in wrong_function(observed, given, trial.policy):
            counts = found.violations, found.judged
            probes.finding = Finding(tensor, words, found.worst, "", *counts)
            probes.worst = found.worst
        state = dict(observed.state)
    return probes.outcome()


PROPERTY = TrainInferenceAgreement()
