"""Every argument, and the gradient fed back, is bit-equal after the call."""

from __future__ import annotations

from normcheck.execution.observation import Trouble
from normcheck.properties.outcomes import HELD, from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "InputsUnchanged"]


class InputsUnchanged(Property):
    """Nothing is overwritten that was not declared."""

    name = "inputs_unchanged"
    explanation = Explanation(
        claim="Every argument and dy are bit-equal after the call, except those declared with "
        "--policy inplace=..., and running statistics in training.",
        why="Working in place on what a cast returned overwrites x for float32 only; writing dx "
        "into dy breaks a residual branch that uses dy again.",
        bound="Exact, bit for bit.",
        bugs=(
            "https://github.com/GeeeekExplorer/nano-vllm/issues/170 (float32 input overwritten)",
            "https://github.com/linkedin/Liger-Kernel/pull/376 (dy overwritten)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge what one case left of its arguments."""
        for observed, how in ((trial.forward, ""), (trial.backward, " when gradients are taken")):
            if observed.mutated:
                names = ", ".join(observed.mutated)
                return Outcome(
                    Status.VIOLATED, finding=Finding(names, f"{names} was overwritten{how}")
                )
        raised = trial.forward.raised
        if raised is not None and raised.trouble is not Trouble.UNEXPECTED:
            return from_trouble(raised)
        return HELD


PROPERTY = InputsUnchanged()
