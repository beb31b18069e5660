"""Outputs and gradients have the shape, dtype and device that the op promises."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.cases.pose import output_format
from normcheck.execution.observation import Trouble
from normcheck.properties.outcomes import HELD, from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "OutputContract"]


class OutputContract(Property):
    """Shape, dtype and device of everything that is returned."""

    name = "output_contract"
    explanation = Explanation(
        claim="The target returns the op's outputs, each with the shape and dtype of x, on the "
        "device of x; gradients have the shape and dtype of what they are gradients of.",
        why="A promoted dtype doubles memory traffic downstream, and a wrong shape broadcasts "
        "silently.",
        bound="Exact. The output dtype is the input's unless --policy output=... declares another. "
        "Strides are free unless --policy layout=preserved is declared.",
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
                if trial.policy.layout == "preserved" and not _keeps_layout(x, y):
                    text = f"strides are {y.stride()}, but x has {x.stride()}"
                    return Finding(name, f"{text}, which --policy layout=preserved keeps")
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


def _keeps_layout(x: Tensor, y: Tensor) -> bool:
    """Whether an output has the strides of x, or those that torch gives it where x has gaps."""
    wanted = torch.empty_like(x, memory_format=torch.preserve_format).stride()
    strides = zip(y.stride(), wanted, x.shape, strict=True)
    return all(have == want for have, want, size in strides if size > 1)


PROPERTY = OutputContract()
