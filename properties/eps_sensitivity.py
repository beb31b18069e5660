"""The caller's eps is used: its value, where the formula puts it, in a precision that holds it."""

from __future__ import annotations

from dataclasses import replace

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "EpsSensitivity"]

_VALUES = (1e-12, 1e-8, 1e-6, 1e-5, 1e-3, 1e-2, 1.0, 30.0)


class EpsSensitivity(Property):
    """The same tensors at many values of eps."""

    name = "eps_sensitivity"
    parameter = "eps"
    explanation = Explanation(
        claim="For eps from 1e-12 to 30, on the same tensors, the answer is the formula's.",
        why="An eps that is hard-coded, raised to a minimum, held in half precision (1e-12 is zero "
        "there), added outside the root or never passed on changes nothing on unit-variance data.",
        bound="The budget of forward_accuracy at each eps.",
        bugs=(
            "https://github.com/ggml-org/llama.cpp/issues/2373 (hard-coded)",
            "https://github.com/tensorflow/tensorflow/issues/37768 (raised to 1.001e-5)",
            "https://github.com/nntrainer/nntrainer/pull/4318 (passed in half precision)",
            "https://github.com/allenai/OLMo/issues/281 (outside the root)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Targets that take an eps."""
        return super().concerns(adapter) and "eps" not in adapter.binding.missing

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case at other values of eps."""
        if "eps" in trial.adapter.binding.missing or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE, reason="the target takes no eps")
        if not applies(trial, elements=4096, every=3, offset=2):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        floor = trial.inputs.op.eps if trial.inputs.op.eps_place == "floor" else 0.0
        for eps in _VALUES:
            if eps != trial.inputs.eps and (not floor or eps in (floor, 1e-3, 1.0)):
                probes.ask(f"at eps = {eps:g}", Way(), replace(trial.inputs, eps=eps))
        return probes.outcome()


PROPERTY = EpsSensitivity()
