"""The same call gives the same bits twice."""

from __future__ import annotations

from normcheck.execution.in_process import same_bits
from normcheck.execution.observation import Observation
from normcheck.properties.outcomes import HELD, from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "ForwardDeterminism"]


class ForwardDeterminism(Property):
    """Outputs of two equal calls; gradients too where that is declared."""

    name = "forward_determinism"
    explanation = Explanation(
        claim="Two calls on equal inputs return bit-equal outputs; with --policy "
        "reruns=deterministic, bit-equal gradients too.",
        why="A race or an uninitialised read shows as bits that change from call to call long "
        "before it shows as a wrong value.",
        bound="Exact, bit for bit. Gradients may be accumulated in any order by default.",
        bugs=(
            "https://github.com/flashinfer-ai/flashinfer/pull/3607 (shared memory reused early)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case by calling twice."""
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        finding = _changed(trial.forward, trial.rerun)
        if finding is None and trial.policy.reruns == "deterministic":
            finding = _changed(trial.backward, trial.backward_rerun)
        return Outcome(Status.VIOLATED, finding=finding) if finding else HELD


def _changed(first: Observation, second: Observation) -> Finding | None:
    if second.raised is not None and first.raised is None:
        return Finding("target", f"the second call failed: {second.raised.text}")
    for kind, before, after in (
        ("", first.outputs, second.outputs),
        ("grad_", first.gradients, second.gradients),
        ("", first.state, second.state),
    ):
        for name, value in before.items():
            if name not in after or not same_bits(value, after[name]):
                return Finding(kind + name, "two calls on equal inputs returned different bits")
    return None


PROPERTY = ForwardDeterminism()
