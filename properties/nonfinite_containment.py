"""A NaN or an infinity stays in its own slice, and does not come out of it as a finite number."""

from __future__ import annotations

from normcheck.properties.outcomes import HELD, from_trouble, is_finite
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "NonfiniteContainment"]


class NonfiniteContainment(Property):
    """Clean slices stay accurate beside dirty ones; dirty ones stay visibly dirty."""

    name = "nonfinite_containment"
    explanation = Explanation(
        claim="Slices whose input is finite stay finite whatever their neighbours hold, and a "
        "slice with a NaN or an infinity does not come out entirely finite.",
        why="Statistics that reach across rows spread one bad token over a batch; a clamp or a "
        "maximum that swallows NaN hides a diverged model behind plausible numbers.",
        bound="Clean slices: finite outputs and gradients; how accurate they are beside dirty "
        "ones, forward_accuracy and gradients judge. Dirty ones: at least one output that is not "
        "finite.",
        bugs=("https://github.com/tenstorrent/tt-metal/issues/45968 (NaN from variance below 0)",),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case that holds NaN or infinities."""
        if is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        if not trial.comparisons:
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        chosen = trial.compared("y")
        if chosen is not None and chosen[1].laundered:
            text = f"{chosen[1].laundered} slices with NaN or inf in x came out finite"
            return Outcome(Status.VIOLATED, finding=Finding("y", text))
        gradient = trial.compared("grad_x")
        if gradient is not None and gradient[1].nonfinite:
            text = f"{gradient[1].nonfinite} elements of clean slices have a gradient that is not"
            return Outcome(Status.VIOLATED, finding=Finding("grad_x", f"{text} finite"))
        if chosen is not None and chosen[1].nonfinite:
            text = f"{chosen[1].nonfinite} elements of clean slices are not finite"
            return Outcome(Status.VIOLATED, finding=Finding("y", text))
        return HELD


PROPERTY = NonfiniteContainment()
