"""What lies beside the arguments in memory is neither read nor written."""

from __future__ import annotations

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "PaddingIndependence"]


class PaddingIndependence(Property):
    """Arguments embedded in NaN: before, after and between rows."""

    name = "padding_independence"
    explanation = Explanation(
        claim="With NaN in memory before, after and between the rows of every argument, the answer "
        "is the same, and that memory is untouched.",
        why="A vector load past the end of a row and a store without a tail mask stay unseen while "
        "the neighbouring memory happens to hold zeros, or the next row.",
        bound="The budgets of forward_accuracy and gradients; the surrounding memory bit for bit.",
        bugs=(
            "https://github.com/ROCm/aiter/issues/5044 (vector tail writes into the next row)",
            "https://github.com/tenstorrent/tt-metal/pull/42549 (padding counted in statistics)",
            "https://github.com/flagos-ai/FlagGems/issues/4984 (channels beside the group read)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case between NaN."""
        if not applies(trial, elements=1 << 14, every=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        base = trial.backward if trial.backward.gradients else trial.forward
        names = [*trial.inputs.tensors, "dy"]
        for chosen in (names, ["x"], names[1:]):
            way = Way(
                gradients=bool(base.gradients),
                arranged=tuple((name, "embedded") for name in chosen),
            )
            words = f"with NaN in memory around {', '.join(chosen)}"
            observed = probes.ask(words, way, base=base)
            for name in observed.trespassed:
                probes.fail(name, f"memory beside {name} was written to")
        return probes.outcome()


PROPERTY = PaddingIndependence()
