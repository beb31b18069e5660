"""A backward pass belongs to its own forward pass, whatever was called in between."""

from __future__ import annotations

from dataclasses import replace

from normcheck.execution.way import Way
from normcheck.properties.other_inputs import another
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "InterleavedCalls"]


class InterleavedCalls(Property):
    """Forward A, forward B, backward A, backward B."""

    name = "interleaved_calls"
    local = True
    explanation = Explanation(
        claim="When the target is called on other inputs between a forward pass and its backward "
        "pass, both gradients are right.",
        why="Statistics saved in a place that the next call writes to give the gradient of another "
        "batch: what every model does that uses one norm twice.",
        bound="The budgets of gradients, or the bits of the call on its own.",
        bugs=(
            "https://github.com/ooples/AiDotNet.Tensors/pull/722 (saved statistics of a step ago)",
            "https://github.com/pytorch/pytorch/issues/586 (stale saved statistics)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge two interleaved calls."""
        if not applies(trial, elements=1 << 13, every=3, offset=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        if not trial.backward.gradients:
            return Outcome(Status.INAPPLICABLE, reason="no gradients to judge")
        probes, other = Probes(trial), another(trial)
        way = Way(gradients=True)
        alone, after = trial.call(way, other), SpecialCall(other, way, (trial.inputs,))
        probes.hold("on other values, after this call", alone, other, call=after)
        first, second = trial.session(way), trial.session(way, other)
        outputs, others = first.forward(), second.forward()
        inner = SpecialCall(trial.inputs, way, between=other)
        for words, session, forward, base, call in (
            ("when another call comes before its backward", first, outputs, trial.backward, inner),
            ("when another backward comes before its own", second, others, alone, None),
        ):
            backward = session.backward()
            whole = replace(backward, outputs=forward.outputs, state=forward.state)
            probes.hold(words, whole, session.inputs, base=base, call=call)
        return probes.outcome()


PROPERTY = InterleavedCalls()
