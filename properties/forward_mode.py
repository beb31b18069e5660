"""Derivatives in forward mode are right, or refused."""

from __future__ import annotations

from normcheck.cases.pose import pose
from normcheck.execution.observation import Trouble
from normcheck.execution.transformed import (
    Transformed,
    directions,
    takes_parameters,
    without_buffers,
)
from normcheck.execution.way import Way
from normcheck.numerics.second_order import tangent
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.second_derivatives import directions_of, not_judged, outcome_of
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "ForwardMode"]


# torch imports a second of its compiler with the first dual number: not before the fixed cases that
# find most faults, which come first, have been judged.
_LATER = 9


class ForwardMode(Property):
    """How the output moves along a random direction, with dual numbers and with torch.func.jvp."""

    name = "forward_mode"
    formats = ("float32", "float64")
    local = True
    explanation = Explanation(
        claim="Where a target can be differentiated in forward mode, the derivative of y along "
        "random directions of x, residual, weight and bias is right.",
        why="The rule for forward mode is written apart from the backward pass and is seldom run: "
        "a missing projection or a wrong sign shows nowhere else.",
        bound="Rule D1 of docs/budgets.md. Judged in float32 and float64, on calm small cases; of "
        "a module, x and residual alone move. Refusing is right.",
        bugs=("https://github.com/pytorch/pytorch/issues/196700 (wrong sign, nested)",),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in both ways that torch has."""
        excused = not_judged(trial)
        if excused is not None:
            return excused
        if trial.inputs.case.seed < _LATER:
            return Outcome(Status.INAPPLICABLE)
        inputs = without_buffers(trial.inputs, trial.adapter)
        along = directions(inputs)
        if not takes_parameters(trial.adapter):
            along = {name: v for name, v in along.items() if name in ("x", "residual")}
        derivative = tangent(pose(inputs, trial.policy), directions_of(trial, along))
        held: Outcome | None = None
        refused: Outcome | None = None
        executor = trial.session(Way()).executor
        for functional, words in ((False, "with dual numbers"), (True, "in torch.func.jvp")):
            observed = Transformed(executor, inputs).pushed(along, functional=functional)
            if observed.raised is not None:
                refused = refused or from_trouble(observed.raised)
                if observed.raised.trouble is not Trouble.REFUSED:
                    return refused
                continue
            found = outcome_of({"tangent_y": (derivative, observed.outputs["y"])}, words)
            if found.status is not Status.HELD:
                return found
            held = found if held is None or found.ratio > held.ratio else held
        return held or refused or Outcome(Status.INAPPLICABLE)


PROPERTY = ForwardMode()
