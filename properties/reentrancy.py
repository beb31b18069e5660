"""Two threads that call at once do not disturb each other."""

from __future__ import annotations

import threading

from normcheck.execution.observation import Observation
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import another
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "Reentrancy"]

_ROUNDS = 6


class Reentrancy(Property):
    """The target called from two threads, on different inputs."""

    name = "reentrancy"
    local = True
    explanation = Explanation(
        claim="Two threads that call the target at once, on different inputs, both get the answer "
        "that each gets alone.",
        why="Scratch memory kept in a module-level variable is overwritten by the other thread: "
        "data loaders, servers and pipeline stages call from several.",
        bound="The budgets of forward_accuracy, at each of several rounds. What two threads never "
        "happen to do at once is not seen.",
        bugs=("https://github.com/flashinfer-ai/flashinfer/pull/3607 (shared scratch reused)",),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge two threads on one case."""
        if not applies(trial, elements=1 << 13, every=5) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes, other = Probes(trial), another(trial)
        alone = probes.ask("on other values, after this call", Way(), other)
        found: dict[str, list[Observation]] = {"first": [], "second": []}
        gate = threading.Barrier(2)

        def work(name: str) -> None:
            inputs = trial.inputs if name == "first" else other
            for _ in range(_ROUNDS):
                gate.wait()
                found[name].append(trial.call(Way(), inputs))

        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for observed in found["first"]:
            probes.hold("while another thread called it", observed, base=trial.forward)
        for observed in found["second"]:
            probes.hold("while another thread called it", observed, other, base=alone)
        return probes.outcome()


PROPERTY = Reentrancy()
