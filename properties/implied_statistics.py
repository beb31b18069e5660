"""What the errors of a slice amount to together is within what its statistics are granted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from normcheck.cases.pose import pose
from normcheck.execution.stopwatch import threads
from normcheck.numerics.coherence import Coherent, can_be_judged, output_coherence
from normcheck.numerics.implied import LEAST_ELEMENTS, REST
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["NOTHING_SAID", "PROPERTY", "ImpliedStatistics", "coherent_outcome"]

Judged = tuple[str, str, Coherent | None]
"""A tensor, the rounding policy under which it was judged, and what came out."""


class ImpliedStatistics(Property):
    """Mean and reciprocal root of every slice, read off the outputs."""

    name = "implied_statistics"
    explanation = Explanation(
        claim="The errors of a slice are explained by one scale and one shift, each within the "
        "budget of its statistic, and by what each element may be off by on its own.",
        why="A reciprocal root or a mean that was rounded, approximated or saved in a short format "
        "is one small error on every element of a row. And the other way round: on long rows, and "
        "at large means, the budget of the statistics is the larger part of an element's, and "
        "roundings of single elements in a short format hide behind it.",
        bound="A weighted least squares fit of scale and shift; its coefficients by dr/r and "
        "(r + dr) d plus the elementwise budget with the worst signs, and what is left over by "
        "that elementwise budget. No probability; see docs/budgets.md, rule I1.",
        bugs=(
            "docs/findings.md, InstanceNorm: statistics in half precision (rows scaled by 1.005)",
            "https://github.com/pytorch/executorch/pull/16727 (statistics in half precision)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the outputs of the calls without and with gradients."""
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        if not trial.comparisons:
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        problem, view = pose(trial.inputs, trial.policy), trial.inputs.reduction.view
        if not can_be_judged(problem):
            return NOTHING_SAID
        judged: list[Judged] = []
        outputs = {"y": trial.forward, "y_with_gradients": trial.backward}
        for tensor, observation in outputs.items():
            chosen = trial.compared(tensor)
            if chosen is not None and trial.well_formed(observation):
                y, total = observation.outputs["y"], observation.outputs.get("residual_out")
                stored = None if total is None else total.dtype
                with threads(1):
                    found = output_coherence(problem, y.reshape(view), chosen[0], stored)
                judged.append((tensor, chosen[0], found))
        return coherent_outcome(judged, _WORDS)


_WORDS: Mapping[str, Callable[[Coherent], str]] = {
    "scale": lambda c: (
        f"scaled by {1 + c.value:.10g} (allowed 1 +- {c.allowed:.2g}): the reciprocal root is off"
    ),
    "shift": lambda c: (
        f"shifted by {c.value:.3g} times the weight (allowed +- {c.allowed:.2g}): the mean is off"
    ),
}


NOTHING_SAID = Outcome(
    Status.INAPPLICABLE, reason=f"slices of fewer than {LEAST_ELEMENTS} elements, a gate or a mask"
)


def coherent_outcome(
    judged: Iterable[Judged], words: Mapping[str, Callable[[Coherent], str]]
) -> Outcome:
    """Return the worst of some tensors in words.

    Args:
        judged: Tensors with what was found.
        words: Per direction, how to say that a slice is moved along it.
    """
    found = [(tensor, policy, c) for tensor, policy, c in judged if c is not None]
    if not found:
        return Outcome(Status.POWERLESS, reason="no slice tells scale and shift apart")
    tensor, policy, worst = max(found, key=lambda entry: entry[2].worst.ratio)
    ratio = worst.worst.ratio
    if ratio <= 1.0:
        return Outcome(Status.HELD, ratio, worst.worst)
    detail = _rest(tensor, worst) if worst.kind == REST else _whole(tensor, worst, words)
    finding = Finding(tensor, detail, worst.worst, policy, worst.violations, worst.judged)
    return Outcome(Status.VIOLATED, ratio, worst.worst, finding)


def _rest(tensor: str, found: Coherent) -> str:
    place = ", ".join(map(str, found.worst.index))
    return (
        f"{tensor}[{place}] is off by {found.value:.3g} beyond what its whole slice is off by "
        f"(allowed {found.allowed:.2g}): no error of the statistics explains it"
    )


def _whole(tensor: str, found: Coherent, words: Mapping[str, Callable[[Coherent], str]]) -> str:
    place = ", ".join(map(str, found.worst.index))
    return (
        f"the slice of {tensor}[{place}] is {words[found.kind](found)}; "
        f"this explains {100 * max(found.explained, 0.0):.3g} % of its squared error"
    )


PROPERTY = ImpliedStatistics()
