"""The sum of dx, its projection on x^ and its scale are those that the formula forces."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from normcheck.cases.pose import pose
from normcheck.execution.in_process import same_bits
from normcheck.execution.observation import Trouble
from normcheck.execution.stopwatch import threads
from normcheck.numerics.coherence import Coherent, can_be_judged, gradient_coherence
from normcheck.properties.implied_statistics import NOTHING_SAID, coherent_outcome
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "GradientIdentities"]


class GradientIdentities(Property):
    """Coherent errors of the input gradient."""

    name = "gradient_identities"
    explanation = Explanation(
        claim="Over each slice sum dx = 0 (centred ops) and sum dx x^ = eps r^3 sum g x^ hold, and "
        "dx has the scale of the exact one, to what the budget grants the two means and the root.",
        why="A backward pass that reads a saved reciprocal root in a short format scales all of "
        "dx, and one whose means are rounded or left out adds a constant or a multiple of x^: "
        "each a small error on every element that pushes training the same way at every step.",
        bound="A weighted least squares fit of dx, x^ and 1 to the error of dx; its coefficients "
        "by the coherent terms of rule B1 plus the elementwise ones with the worst signs, and what "
        "is left over by the elementwise ones. No probability; see docs/budgets.md, rule I2.",
        bugs=(
            "docs/findings.md, LayerNorm: statistics saved for backward",
            "https://github.com/tenstorrent/tt-metal/issues/53204 (doubled term in a gradient)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the gradients of ``x`` and ``residual``."""
        observed = trial.backward
        if observed.raised is not None:
            if observed.raised.trouble is Trouble.REFUSED and trial.forward.raised is None:
                return Outcome(Status.UNSUPPORTED, reason=f"with gradients: {observed.raised.text}")
            return from_trouble(observed.raised)
        if not trial.comparisons or not trial.well_formed(observed):
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        problem, view = pose(trial.inputs, trial.policy), trial.inputs.reduction.view
        if not can_be_judged(problem):
            return NOTHING_SAID
        dy = {name: value.reshape(view) for name, value in trial.inputs.dy.items()}
        total = observed.outputs.get("residual_out")
        judged, known, stored = [], None, None if total is None else total.dtype
        for name in ("x", "residual"):
            tensor, dx = f"grad_{name}", observed.gradients.get(name)
            chosen = trial.compared(tensor)
            if dx is None or chosen is None or (known is not None and same_bits(dx, known)):
                continue
            known = dx
            with threads(1):
                found = gradient_coherence(problem, dy, dx.reshape(view), chosen[0], stored)
            judged.append((tensor, chosen[0], found))
        if not judged:
            return Outcome(Status.INAPPLICABLE, reason="no gradient of x")
        return coherent_outcome(judged, _WORDS)


_WORDS: Mapping[str, Callable[[Coherent], str]] = {
    "scale": lambda c: (
        f"scaled by {1 + c.value:.10g} (allowed 1 +- {c.allowed:.2g}): the root that the backward "
        "pass uses is off"
    ),
    "mean": lambda c: (
        f"shifted by {c.value:.3g} (allowed +- {c.allowed:.2g}), so that its sum is wrong: the "
        "term with the mean of g is off"
    ),
    "projection": lambda c: (
        f"off by {c.value:.3g} times x^ (allowed +- {c.allowed:.2g}): the term with the mean of "
        "g x^ is off"
    ),
}

PROPERTY = GradientIdentities()
