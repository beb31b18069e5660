"""Gradients of gradients are right, or refused."""

from __future__ import annotations

from torch import Tensor

from normcheck.cases.pose import formula_of, pose
from normcheck.execution.observation import Trouble
from normcheck.execution.transformed import Transformed, directions, framework_name
from normcheck.execution.way import Way
from normcheck.numerics.comparison import Worst
from normcheck.numerics.second_order import Derivative, Directions, second_derivatives, supports
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.probing import applies
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "SecondDerivatives", "directions_of", "not_judged", "outcome_of"]

_TENSORS = {"x", "residual", "weight", "bias", "running_mean", "running_var"}
_ELEMENTS = 3072


class SecondDerivatives(Property):
    """The derivative of every gradient, along a random direction, by every input and by dy."""

    name = "second_derivatives"
    formats = ("float32", "float64")
    local = True
    explanation = Explanation(
        claim="Where gradients can be differentiated again, the derivative of <dx, v> + "
        "<dweight, v'> + <dbias, v''> by x, residual, weight, bias and dy is right for random "
        "directions v.",
        why="A backward pass that is written by hand is differentiated as it stands: statistics "
        "that it saved become constants, and gradient penalties, meta-learning and curvature are "
        "silently wrong. Refusing, as once_differentiable does, is right.",
        bound="Rules D1 and D2 of docs/budgets.md. Judged in float32 and float64, on calm cases of "
        f"at most {_ELEMENTS} elements; by the bias the derivative is exactly zero.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/175754 (saved statistics as constants)",
            "https://github.com/pytorch/pytorch/issues/79705 (wrong without weight but with bias)",
            "https://github.com/ml-explore/mlx/issues/3220 (shape of a gradient without bias)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case by differentiating twice."""
        excused = not_judged(trial)
        if excused is not None:
            return excused
        inputs = trial.inputs
        session = Transformed(trial.session(Way()).executor, inputs)
        along = directions(inputs)
        observed = session.twice(along)
        if observed.raised is not None:
            return from_trouble(observed.raised)
        moved = {n: v for n, v in along.items() if n in session.attached}
        view = inputs.reduction.view
        problem = pose(inputs, trial.policy)
        dy = inputs.dy["y"].reshape(view).double()
        exact = dict(second_derivatives(problem, dy, directions_of(trial, moved)))
        if "residual" in inputs.tensors:
            exact["residual"] = exact["x"]
        bias = observed.gradients.get("bias")
        if bias is not None and bool((bias != 0).any()):
            text = "no gradient depends on bias, but the second derivative by it is not zero"
            return Outcome(Status.VIOLATED, finding=Finding("grad2_bias", text))
        compared = {
            f"grad2_{n}": (derivative, observed.gradients[n])
            for n, derivative in exact.items()
            if n in observed.gradients
        }
        return outcome_of(compared, "when gradients are differentiated again")


def not_judged(trial: Trial) -> Outcome | None:
    """Return why derivatives along directions are not judged on a case, None if they are."""
    case, tensors = trial.inputs.case, trial.inputs.tensors
    # Two seeds of five: of the fixed cases, some of each family with and without weight.
    chosen = [applies(trial, elements=_ELEMENTS, every=5, offset=seed) for seed in (0, 4)]
    small = any(chosen) and case.regime in ("plain", "calm", "offset3")
    if not small or case.dtype not in ("float32", "float64"):
        return Outcome(Status.INAPPLICABLE)
    known = set(tensors) <= _TENSORS and trial.inputs.op.outputs[0] == "y"
    if not known or trial.inputs.op.parts or not supports(formula_of(trial.inputs, trial.policy)):
        return Outcome(Status.INAPPLICABLE, reason="not derived for this op and policy")
    if framework_name(trial.adapter) != "torch":
        reason = f"derivatives are taken by torch, but this is {framework_name(trial.adapter)}"
        return Outcome(Status.UNSUPPORTED, reason=reason)
    raised = trial.backward.raised
    if raised is not None and raised.trouble is not Trouble.UNEXPECTED:
        return from_trouble(raised)
    if not trial.well_formed(trial.backward):
        return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
    return None


def directions_of(trial: Trial, moved: dict[str, Tensor]) -> Directions:
    """Bring directions into the shape of the view; what is added to x moves with it."""
    reduction = trial.inputs.reduction
    x = moved["x"].double()
    if "residual" in moved:
        x = x + moved["residual"].double()
    weight, bias = (
        moved[n].double().reshape(reduction.affine) if n in moved else None
        for n in ("weight", "bias")
    )
    return Directions(x.reshape(reduction.view), weight, bias)


def outcome_of(compared: dict[str, tuple[Derivative, Tensor]], words: str) -> Outcome:
    """Hold derivatives to their budgets."""
    worst: Worst | None = None
    finding: Finding | None = None
    for name, (derivative, computed) in compared.items():
        if computed.numel() != derivative.delta.numel():
            text = f"has {computed.numel()} elements, but must have {derivative.delta.numel()}"
            return Outcome(Status.VIOLATED, finding=Finding(name, f"{text}, {words}"))
        found = derivative.compare(computed)
        if found.worst is None or (worst is not None and found.ratio <= worst.ratio):
            continue
        worst = found.worst
        if found.ratio > 1.0:
            finding = Finding(name, words, worst, "", found.violations, found.judged)
    if worst is None:
        return Outcome(Status.POWERLESS, reason="no derivative has a budget that can tell")
    status = Status.VIOLATED if finding else Status.HELD
    return Outcome(status, worst.ratio, worst, finding)


PROPERTY = SecondDerivatives()
