"""Every output element is the rounding of a number within the budget of the exact result."""

from __future__ import annotations

from normcheck.properties.outcomes import from_comparisons, from_trouble
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "ForwardAccuracy"]


class ForwardAccuracy(Property):
    """Outputs, with and without gradients, against the exact result."""

    name = "forward_accuracy"
    explanation = Explanation(
        claim="Every output element is the rounding of a real number within delta of the exact "
        "result, where delta is the derived budget of the accumulation format.",
        why="One-pass variance, statistics in half precision, n - 1, a misplaced or ignored "
        "epsilon, dropped tails, padded lanes and ignored parameters all change the output by "
        "more than rounding can, on inputs that random normal data never contains.",
        bound="delta = |weight| ((r + dr) (d + 3u(|x| + |mean|)) + |c| dr) + 3u(|c r weight| + "
        "|bias|); see docs/budgets.md, rule F.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/51102 (one-pass variance in LayerNorm)",
            "https://github.com/pytorch/executorch/pull/16727 (half accumulation, one-pass)",
            "https://github.com/ggml-org/llama.cpp/issues/2373 (hard-coded epsilon)",
            "https://github.com/keras-team/keras/issues/21234 (centred variance in RMSNorm)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the outputs of one case: all slices whose input is finite."""
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        if not trial.comparisons:
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        names = trial.inputs.op.outputs
        return from_comparisons(trial, [*names, *(f"{name}_with_gradients" for name in names)])


PROPERTY = ForwardAccuracy()
