"""A batch gives what its parts give: samples have nothing to do with one another."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from normcheck.execution.observation import Observation
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import is_ordinary, part
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "BatchSplit"]


class BatchSplit(Property):
    """The parts of a batch, called one by one, put together again."""

    name = "batch_split"
    local = True
    explanation = Explanation(
        claim="Called on the first sample, on the next half and on the rest, the target gives the "
        "output and the input gradient of the whole batch.",
        why="Another kernel serves a single row, a tall batch or an odd rest; rows that are mixed "
        "inside a tile, and a last block without a mask, depend on what else is in the batch.",
        bound="The budgets of forward_accuracy and gradients; bits may differ unless "
        "--policy reruns=batch_invariant is declared.",
        bugs=(
            "https://github.com/BobMcDear/attorch/issues/17 (rows of a tile mixed)",
            "https://github.com/pytorch/pytorch/issues/149301 (a value changes with the batch)",
            "https://github.com/apache/tvm/pull/14963 (statistics of the wrong batch)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops whose samples are independent, in evaluation at least."""
        return is_ordinary(adapter.op)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in parts."""
        rows = trial.inputs.case.shape[0]
        if rows < 2 or not applies(trial, elements=1 << 14, every=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        cuts = sorted({0, 1, 1 + rows // 2, rows})
        parts = [part(trial, start, stop) for start, stop in pairwise(cuts)]
        way = Way(gradients="x" in trial.backward.gradients)
        found = [trial.call(way, inputs) for inputs in parts if inputs is not None]
        if len(found) < len(parts):
            return Outcome(Status.INAPPLICABLE)
        probes = Probes(trial)
        sizes = ", ".join(str(stop - start) for start, stop in pairwise(cuts))
        words = f"called in parts of {sizes} entries"
        refused = next((o for o in found if o.raised is not None), None)
        if refused is not None:
            probes.hold(words, refused, parts[found.index(refused)])
            return probes.outcome()
        base = trial.backward if way.gradients else trial.forward
        probes.hold(words, _together(found), base=base)
        return probes.outcome()


def _together(found: list[Observation]) -> Observation:
    """Put the parts of outputs and of gradients of data together; parameter gradients are sums."""

    def joined(name: str, kind: str) -> Tensor:
        return torch.cat([getattr(observed, kind)[name] for observed in found])

    names = [name for name in found[0].gradients if name in ("x", "residual", "z")]
    return Observation(
        outputs={name: joined(name, "outputs") for name in found[0].outputs},
        gradients={name: joined(name, "gradients") for name in names},
    )


PROPERTY = BatchSplit()
