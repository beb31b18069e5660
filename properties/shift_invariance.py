"""Adding a constant to every element of a slice does not change a centred norm."""

from __future__ import annotations

import torch

from normcheck.execution.way import Way
from normcheck.ops.op import Settings
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "ShiftInvariance"]

_SHIFTS = (1.0, -32.0, 1024.0)


class ShiftInvariance(Property):
    """f(x + c) = f(x) for layer, batch, group and instance norm."""

    name = "shift_invariance"
    explanation = Explanation(
        claim="A centred norm of x + c is the norm of x, for x + c as the format rounds it.",
        why="Cancellation in E[x^2] - E[x]^2 grows with the square of mean/std, and masked lanes "
        "that are centred to -mean enter the variance: both are invisible on zero-mean data.",
        bound="The budget of forward_accuracy for the shifted x as it is after rounding: the exact "
        "result is worked out anew, so that what rounding x + c lost is not blamed on the target.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/51102 (randn + 2000)",
            "https://github.com/microsoft/onnxruntime/issues/28463 (40000 to 40003)",
            "https://github.com/linkedin/Liger-Kernel/issues/518 (masked lanes)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops that subtract a mean, of tensors without padding."""
        op = adapter.op
        shape = op.shaped((2, 4, 3, 5)) or (2, 4)
        masked = op.parameter("mask") is not None
        return op.reduce(shape, Settings()).centred and not masked

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case shifted."""
        evaluated = trial.inputs.case.mode == "eval"
        if not trial.inputs.reduction.centred or evaluated or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        if not applies(trial, elements=1 << 13, every=3, offset=1):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        largest = torch.finfo(trial.inputs.tensors["x"].dtype).max / 8
        top = float(trial.inputs.tensors["x"].double().abs().amax())
        for shift in _SHIFTS:
            if top + abs(shift) > largest:
                continue
            # The residual and dy stay: the sum moves by as much as x.
            tensors = {**trial.inputs.tensors, "x": trial.inputs.tensors["x"] + shift}
            probes.ask(f"with {shift:g} added to x", Way(), trial.inputs.with_tensors(tensors))
        return probes.outcome()


PROPERTY = ShiftInvariance()
