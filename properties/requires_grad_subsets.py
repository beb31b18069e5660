"""Whatever arguments are frozen, the others get their right gradient."""

from __future__ import annotations

from itertools import combinations

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "RequiresGradSubsets"]


class RequiresGradSubsets(Property):
    """Every subset of the arguments that can require a gradient."""

    name = "requires_grad_subsets"
    explanation = Explanation(
        claim="For every subset of x, residual, weight and bias that requires a gradient, each of "
        "the subset gets one, and it is right.",
        why="A backward that skips work for a frozen argument skips the wrong work: the weight's "
        "gradient is missing when x needs none, or written to where another belongs.",
        bound="The budgets of gradients, or the bits of the call in which all are required.",
        bugs=(
            "https://github.com/PaddlePaddle/Paddle/issues/54244 (x without gradient)",
            "https://github.com/unslothai/unsloth/issues/45 (weight without gradient)",
            "https://github.com/pytorch/pytorch/pull/192016 (weight None beside a bias)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case with some arguments frozen."""
        if not applies(trial, elements=1 << 13, every=3) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        base, probes = trial.backward, Probes(trial)
        names = tuple(base.gradients)
        if len(names) < 2:
            reason = base.raised.text if base.raised else "fewer than two arguments have a gradient"
            return Outcome(Status.INAPPLICABLE, reason=reason)
        for size in range(1, len(names)):
            for wanted in combinations(names, size):
                words = f"when only {' and '.join(wanted)} requires a gradient"
                way = Way(gradients=True, wanted=wanted)
                observed = trial.call(way)
                lost = [n for n in wanted if n not in observed.gradients]
                if lost and (observed.raised is None or observed.outputs):
                    probes.fail(f"grad_{lost[0]}", f"no gradient reaches {lost[0]} {words}")
                elif not lost:
                    call = SpecialCall(trial.inputs, way)
                    probes.hold(words, observed, base=base, call=call)
        return probes.outcome()


PROPERTY = RequiresGradSubsets()
