"""Weight and bias enter linearly: scaled, negated and set to zero, they do what they say."""

from __future__ import annotations

from torch import Tensor

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "AffineSplit"]


def _zero(tensor: Tensor) -> Tensor:
    return tensor * 0


def _double(tensor: Tensor) -> Tensor:
    return tensor * 2


def _negated(tensor: Tensor) -> Tensor:
    return -tensor


class AffineSplit(Property):
    """The output as a function of its affine parameters."""

    name = "affine_split"
    parameter = "weight"
    explanation = Explanation(
        claim="With weight or bias set to zero, doubled or negated, output and gradients follow.",
        why="An offset weight that is dropped, a weight applied twice, a parameter read from "
        "another's slot and a gradient without the weight are neutral at weight 1 and bias 0, "
        "which is what most tests pass.",
        bound="The budgets of forward_accuracy and gradients; the changes are exact.",
        bugs=(
            "https://github.com/NVIDIA/Megatron-LM/pull/6859 (weight + 1 forward, weight twice)",
            "https://github.com/microsoft/onnxruntime/issues/28424 (bias from another slot)",
            "https://github.com/linkedin/Liger-Kernel/issues/74 (offset missing)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case with other parameters."""
        inputs = trial.inputs
        names = [name for name in ("weight", "bias") if name in inputs.tensors]
        if not names or not applies(trial, elements=4096, every=3, offset=1):
            return Outcome(Status.INAPPLICABLE)
        if not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        way = Way(gradients=bool(trial.backward.gradients))
        for name in names:
            for words, change in (("zero", _zero), ("doubled", _double), ("negated", _negated)):
                tensors = {**inputs.tensors, name: change(inputs.tensors[name])}
                probes.ask(f"with {name} {words}", way, inputs.with_tensors(tensors))
        return probes.outcome()


PROPERTY = AffineSplit()
