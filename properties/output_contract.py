"""Outputs and gradients have the shape, dtype and device that the op promises."""

from __future__ import annotations

from normcheck.cases.pose import output_format
from normcheck.execution.observation import Trouble
from normcheck.properties.outcomes import HELD, from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "OutputContract"]


class OutputContract:
    """Shape, dtype and device of everything that is returned."""

    name = "output_contract"
    parameter = ""
    explanation = Explanation(
        claim="The target returns the op's outputs, each with the shape and dtype of x, on the "
        "device of x; gradients have the dtype of what they are gradients of.",
        why="A promoted dtype doubles memory traffic downstream, and a wrong shape broadcasts "
        "silently.",
        bound="Exact. The output dtype is the input's unless --policy output=... declares another.",
        bugs=(
            "https://github.com/pytorch/pytorch/pull/139923 (dtype of outputs differs by device)",
            "https://github.com/pytorch/pytorch/issues/85960 (shape of outputs differs by device)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the outer form of what one case returned."""
        for observed in (trial.forward, trial.backward):
            raised = observed.raised
            if raised is not None and raised.trouble is Trouble.UNEXPECTED:
                return Outcome(Status.VIOLATED, finding=Finding("target", raised.text))
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        fault = self._fault(trial)
        return Outcome(Status.VIOLATED, finding=fault) if fault else HELD

    def _fault(self, trial: Trial) -> Finding | None:
        x = trial.inputs.tensors["x"]
        dtype = output_format(trial.inputs, trial.policy)
        for observed in (trial.forward, trial.backward):
            for name, y in observed.outputs.items():
                if y.shape != x.shape:
                    return Finding(name, f"shape is {tuple(y.shape)}, but x has {tuple(x.shape)}")
                if y.dtype != dtype:
                    return Finding(name, f"dtype is {y.dtype}, but must be {dtype}")
            for name, device in observed.devices.items():
                if device != trial.device_type:
                    return Finding(name, f"device is {device}, but x is on {trial.device_type}")
        for name, gradient in trial.backward.gradients.items():
            given = trial.inputs.tensors[name]
            if gradient.dtype != given.dtype:
                text = f"dtype is {gradient.dtype}, but {name} has {given.dtype}"
                return Finding(f"grad_{name}", text)
        return None


PROPERTY = OutputContract()
