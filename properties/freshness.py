"""Every call looks at its arguments anew: nothing is remembered from an earlier one."""

from __future__ import annotations

from normcheck.execution.way import Way
from normcheck.properties.other_inputs import another
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "Freshness"]

_CALLS = 11


class Freshness(Property):
    """The same tensors with other values in them, and the eleventh call."""

    name = "freshness"
    local = True
    explanation = Explanation(
        claim="When arguments are changed in place, or memory comes back with other contents, the "
        "next call is as right as the first; so is the eleventh on the same arguments.",
        why="A cache keyed on an address, on a shape or on an object returns another call's "
        "statistics; a kernel that goes wrong after a warm-up passes every test that calls once.",
        bound="The budgets of forward_accuracy and gradients, at every call.",
        bugs=(
            "https://github.com/karpathy/llm.c/pull/852 (right for ten calls, then wrong)",
            "https://github.com/ooples/AiDotNet.Tensors/pull/722 (statistics of an earlier step)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge repeated calls on one case's tensors."""
        if not applies(trial, elements=4096, every=3, offset=1) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        other = another(trial)
        for way in (Way(), Way(gradients=True)):
            if way.gradients and not trial.backward.gradients:
                continue
            base = trial.backward if way.gradients else trial.forward
            alone, first = trial.call(way, other), (trial.inputs,)
            words = "on other tensors of the same shapes, after this call"
            probes.hold(words, alone, other, call=SpecialCall(other, way, first))
            session = trial.session(way)
            session.run()
            session.load(other)
            words = "after its arguments were changed in place"
            changed = SpecialCall(other, way, first, shared=True)
            probes.hold(words, session.run(), other, base=alone, call=changed)
            session.load(trial.inputs)
            words = "after its arguments were changed back"
            back = SpecialCall(trial.inputs, way, (*first, other), shared=True)
            probes.hold(words, session.run(), base=base, call=back)
            for _ in range(_CALLS - 4):
                session.load(trial.inputs)
                session.run()
            session.load(trial.inputs)
            late = SpecialCall(trial.inputs, way, first * (_CALLS - 1), shared=True)
            probes.hold(f"at call {_CALLS}", session.run(), base=base, call=late)
        return probes.outcome()


PROPERTY = Freshness()
