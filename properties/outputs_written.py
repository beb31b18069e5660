"""Every element of every output and gradient is written."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "OutputsWritten"]


class OutputsWritten(Property):
    """The same call while ``torch.empty`` hands out NaN."""

    name = "outputs_written"
    explanation = Explanation(
        claim="The answer does not change when uninitialised memory holds NaN.",
        why="An allocator hands back memory that often still holds the right answer of the call "
        "before, so rows that are never written, partial sums that are never cleared and kernels "
        "that are never launched look correct.",
        bound="The budgets of forward_accuracy and gradients. Seen is what torch allocates.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/184826 (rows unwritten beyond a limit)",
            "https://github.com/Dao-AILab/flash-attention/issues/781 (uninitialised partial sums)",
            "https://github.com/PFCCLab/PaddleAPITest/pull/393 (launch failure unnoticed)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case on poisoned memory."""
        if not applies(trial, elements=1 << 18) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        words = "while uninitialised memory holds NaN"
        for way, base in (
            (Way(poisoned=True), trial.forward),
            (Way(gradients=True, poisoned=True), trial.backward),
        ):
            if way.gradients and not base.gradients:
                continue
            observed = probes.ask(words, way, base=base)
            for name in _read(observed.outputs, base.outputs):
                probes.fail(name, f"holds NaN {words}: an element is never written")
            for name in _read(observed.gradients, base.gradients):
                probes.fail(f"grad_{name}", f"holds NaN {words}: an element is never written")
        return probes.outcome()


def _read(poisoned: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> list[str]:
    """Return the tensors that hold NaN only on poisoned memory."""
    return [
        name
        for name, value in poisoned.items()
        if name in plain and bool((value.isnan() & ~plain[name].isnan()).any())
    ]


PROPERTY = OutputsWritten()
