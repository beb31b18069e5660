"""Every pattern of optional arguments is right: each one present or absent, on its own."""

from __future__ import annotations

from itertools import product

from normcheck.execution.way import Way
from normcheck.properties.other_inputs import expressible
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "OptionalArguments"]


class OptionalArguments(Property):
    """Weight, bias and running statistics, in all presence patterns."""

    name = "optional_arguments"
    explanation = Explanation(
        claim="For every pattern of weight, bias and running statistics present or None that the "
        "target accepts, outputs and gradients are right.",
        why="A bias that is skipped when the weight is None, and a buffer sized by an argument "
        "that is absent, show in one of the patterns; tests pass all of them or none.",
        bound="The budgets of forward_accuracy and gradients. No value is neutral: weights are "
        "away from 1 and biases from 0, so an argument that is not read is seen.",
        bugs=(
            "https://github.com/pytorch/pytorch/pull/192016 (weight None beside a bias)",
            "https://github.com/microsoft/onnxruntime/issues/28424 (bias from another slot)",
            "https://github.com/pytorch/pytorch/issues/79705 (weight None in a second derivative)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops with arguments that may be absent."""
        return any(parameter.optional for parameter in adapter.op.tensors)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in other patterns."""
        if not applies(trial, elements=4096, every=3, offset=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        op, case = trial.inputs.op, trial.inputs.case
        choices = {
            name: ("mixed", "none") for name in ("weight", "bias") if op.parameter(name) is not None
        }
        if op.tracks_statistics and case.mode == "train":
            choices["stats"] = ("tracked", "none")
        probes = Probes(trial)
        way = Way(gradients=bool(trial.backward.gradients))
        for pattern in product(*choices.values()):
            settings = dict(zip(choices, pattern, strict=True))
            other = expressible(trial, case.changed(**settings))
            if other is not None and other.case != case:
                absent = [name for name, value in settings.items() if value == "none"]
                words = f"without {' and '.join(absent)}" if absent else "with every argument"
                probes.ask(words, way, other)
        if not probes.held and probes.finding is None and not probes.refused:
            return Outcome(Status.INAPPLICABLE)
        return probes.outcome()


PROPERTY = OptionalArguments()
