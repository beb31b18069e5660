"""After a training step the running statistics are the declared average, within budget."""

from __future__ import annotations

from normcheck.properties.outcomes import from_comparisons, from_trouble
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "RunningStatistics"]


class RunningStatistics(Property):
    """Buffers after one training step against the exact update."""

    name = "running_statistics"
    parameter = "running_mean"
    explanation = Explanation(
        claim="After one training step running_mean and running_var are (1 - m) old + m new, "
        "with the variance over n - 1 unless another convention is declared.",
        why="A biased estimator, swapped momentum or a lost update leaves outputs and gradients "
        "of training untouched and shows only at inference.",
        bound="m d + 3u(...) for the mean, m dv n/(n - 1) + 4u(...) for the variance: rule S of "
        "docs/budgets.md.",
        bugs=(
            "https://github.com/ml-explore/mlx/pull/3817 (biased running variance)",
            "https://github.com/Oneflow-Inc/oneflow/pull/6055 (1 - momentum)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the buffers of one case."""
        tracked = "running_mean" in trial.inputs.tensors and trial.inputs.case.mode == "train"
        if not tracked:
            return Outcome(Status.INAPPLICABLE)
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        if not trial.comparisons:
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        names = ("running_mean", "running_var")
        return from_comparisons(trial, [*names, *(f"{name}_with_gradients" for name in names)])


PROPERTY = RunningStatistics()
