"""From a wrong output to its likely cause, by testing hypotheses against the output itself.

A hypothesis is another function, or weaker arithmetic, that a target may have computed. It is named
only where the observed tensor lies within budget of that function. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from normcheck.cases.pose import observed_of, pose
from normcheck.numerics.comparison import Comparison, Worst
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Problem
from normcheck.numerics.reduction import EpsPlace
from normcheck.properties.property import Finding
from normcheck.properties.trial import Trial

__all__ = ["Hypothesis", "hypotheses", "likely_cause"]

Change = Callable[[Problem], Problem]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a target may have computed instead.

    Attributes:
        text: The cause in words.
        change: The problem that the target would be right on.
        other_function: Whether the exact result differs; else only the budget does.
        needs_repeats: Whether it can only be seen where a slice repeats one value.
        may_lack_power: Whether the small case may be one that its budget cannot judge at all.
    """

    text: str
    change: Change
    other_function: bool = True
    needs_repeats: bool = False
    may_lack_power: bool = False


def _formula(**changes: object) -> Change:
    def change(p: Problem) -> Problem:
        return replace(p, formula=replace(p.formula, **changes))  # type: ignore[arg-type]

    return change


def _uncentred(centred: bool) -> Change:
    return lambda p: replace(p, reduction=replace(p.reduction, centred=centred))


def _placed(p: Problem) -> Iterator[Hypothesis]:
    words = {
        EpsPlace.INSIDE: "eps inside the root",
        EpsPlace.OUTSIDE: "eps outside the root",
        EpsPlace.FLOOR: "eps as a floor of the norm",
    }
    for place, text in words.items():
        if place is not p.formula.eps_place:
            yield Hypothesis(
                f"{text}; declare --policy eps={place} if it is meant", _formula(eps_place=place)
            )


def _valued(p: Problem) -> Iterator[Hypothesis]:
    machine = torch.finfo(p.x.dtype).eps
    for eps, text in (
        (0.0, "eps is ignored"),
        *((value, f"eps is fixed at {value:g}") for value in (1e-12, 1e-8, 1e-6, 1e-5, 1e-3)),
        (machine, "eps is the machine epsilon of the dtype"),
    ):
        if eps != p.formula.eps:
            yield Hypothesis(text, _formula(eps=eps))


def _parameters(p: Problem) -> Iterator[Hypothesis]:
    if p.weight is not None:
        yield Hypothesis("weight is ignored", lambda q: replace(q, weight=None))
        if p.formula.weight_offset:
            yield Hypothesis("multiplies by weight, not 1 + weight", _formula(weight_offset=0.0))
        else:
            yield Hypothesis(
                "multiplies by 1 + weight; declare --policy weight=one_plus if it is meant",
                _formula(weight_offset=1.0),
            )
    if p.bias is not None:
        yield Hypothesis("bias is ignored", lambda q: replace(q, bias=None))
    if p.residual is not None:
        yield Hypothesis("residual is ignored", lambda q: replace(q, residual=None))


def _statistics(p: Problem) -> Iterator[Hypothesis]:
    yield Hypothesis("the variance divides by n - 1", _formula(freedom=1))
    centred = p.reduction.centred
    text = "the mean is not subtracted" if centred else "the mean is subtracted"
    yield Hypothesis(text, _uncentred(not centred))
    if p.running is not None:
        yield Hypothesis(
            "the running variance is biased; declare --policy running_var=biased if it is meant",
            lambda q: replace(q, running=q.running and replace(q.running, biased=True)),
        )
        yield Hypothesis(
            "momentum weighs the old value; declare --policy momentum=old if it is meant",
            lambda q: replace(
                q, running=q.running and replace(q.running, momentum=1.0 - q.running.momentum)
            ),
        )


def _arithmetic(p: Problem) -> Iterator[Hypothesis]:
    """Weaker arithmetic: tried last, because wide budgets explain much."""
    if not p.formula.serial:
        yield Hypothesis(
            "one long chain of additions; declare --policy summation=serial if it is meant",
            _formula(serial=True),
            other_function=False,
            needs_repeats=True,
        )
    if p.reduction.centred:
        yield Hypothesis(
            "cancellation in a one-pass variance, E[x\u00b2] \u2212 E[x]\u00b2",
            _formula(one_pass=True),
            other_function=False,
            may_lack_power=True,
        )
    narrow = [torch.float32] if p.x.dtype == torch.float64 else [p.x.dtype]
    for dtype in narrow:
        if dtype != torch.float32 or p.x.dtype == torch.float64:
            name = str(dtype).removeprefix("torch.")
            meant = "; declare --policy accumulation=float32 if it is meant"
            declared = meant if dtype == torch.float32 else ""
            yield Hypothesis(
                f"sums or statistics are kept in {name}" + declared,
                lambda q, dtype=dtype: replace(q, arithmetic=FloatFormat.of(dtype)),  # type: ignore[misc]
                other_function=False,
            )


def hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    """Yield what a target may have computed instead, the most specific first."""
    for family in (_placed, _valued, _parameters, _statistics, _arithmetic):
        yield from family(problem)


def _nearer(found: list[Comparison], worst: Worst) -> bool:
    """Whether the other function leaves a tenth of the error, or less.

    A wide budget alone proves nothing: on a constant row every place of eps gives the same result.
    """
    left = [abs(c.worst.computed - c.worst.reference) for c in found if c.worst is not None]
    return bool(left) and min(left) <= 0.1 * abs(worst.computed - worst.reference)


def _explains(hypothesis: Hypothesis, trial: Trial, tensor: str, worst: Worst | None) -> bool:
    """Whether a tensor of one case lies within budget of what the hypothesis says.

    Args:
        hypothesis: What the target may have computed.
        trial: The case.
        tensor: What is wrong.
        worst: The worst element, where the error itself has to shrink; None to look at the budget.
    """
    observation = trial.backward if tensor.startswith("grad_") else trial.forward
    if not trial.well_formed(observation):
        return False
    state = observation.state if trial.inputs.case.mode == "train" else {}
    observed = observed_of(trial.inputs, observation.outputs, observation.gradients, state)
    changed = hypothesis.change(pose(trial.inputs, trial.policy))
    offered = judge(changed, observed).get(tensor, {})
    found = [c for name, c in offered.items() if "cast" not in name]
    if hypothesis.may_lack_power and worst is not None and all(not c.judged for c in found):
        return bool(found)
    explained = any(c.judged and c.ratio <= 1.0 for c in found)
    if worst is None or not hypothesis.other_function:
        return explained
    return explained and _nearer(found, worst)


def likely_cause(trial: Trial, whole: Trial, finding: Finding) -> str:
    """Return the first hypothesis that explains a wrong tensor; "" where none does.

    Args:
        trial: The case, as small as it gets: where a hypothesis has to remove the error.
        whole: The case in which the failure was found: where it has to hold as well. Small cases
            are degenerate, and much explains them.
        finding: What is wrong with the small case.
    """
    if finding.worst is None:
        return ""
    tensor = finding.tensor.removesuffix("_with_gradients")
    for hypothesis in hypotheses(pose(trial.inputs, trial.policy)):
        if hypothesis.needs_repeats and not _repeats(trial):
            continue
        if _explains(hypothesis, trial, tensor, finding.worst) and (
            trial is whole or _explains(hypothesis, whole, tensor, None)
        ):
            return hypothesis.text
    return ""


def _repeats(trial: Trial) -> bool:
    """Whether some slice repeats one value: only there does a serial sum exceed a blocked one.

    Rounding errors of equal terms have equal signs; those of random terms cancel. Where every slice
    is the same ramp, the terms of a parameter gradient are equal.
    """
    if trial.inputs.case.regime in ("ramp", "edge"):
        return True
    reduction = trial.inputs.reduction
    kept = [axis for axis in range(len(reduction.view)) if axis not in reduction.over]
    x = trial.inputs.tensors["x"].reshape(reduction.view).permute(*kept, *reduction.over)
    rows = x.reshape(-1, max(reduction.count, 1))
    middle = rows.float().median(-1, keepdim=True).values
    equal = (rows.float() == middle).float().mean(-1)
    near = (
        (rows.float() - middle).abs() <= 1e-6 * rows.float().abs().amax(-1, keepdim=True)
    ).float()
    return bool((torch.maximum(equal, near.mean(-1)) >= 0.5).any())
