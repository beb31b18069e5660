"""The bits of a row do not depend on the batch that it is in; only where that is declared."""

from __future__ import annotations

from normcheck.execution.session import same_bits
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import part
from normcheck.properties.outcomes import HELD, from_trouble
from normcheck.properties.probing import applies
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "BatchInvariance"]


class BatchInvariance(Property):
    """Rows alone, at the start and at the end of batches of many sizes."""

    name = "batch_invariance"
    declared = "reruns=batch_invariant"
    explanation = Explanation(
        claim="An entry of the first dimension gives the same bits alone, in a part of the batch "
        "and in the whole; claimed with --policy reruns=batch_invariant.",
        why="A block size that is chosen from the number of rows changes the order of summation: a "
        "served model then answers differently depending on who else is asking.",
        bound="Exact, bit for bit.",
        bugs=(
            "https://github.com/vllm-project/vllm/issues/48271 (block size switches at 256 rows)",
            "https://github.com/sgl-project/sglang/pull/28787 (reduction depends on the batch)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in parts, bit for bit."""
        rows = trial.inputs.case.shape[0]
        if rows < 2 or not applies(trial, elements=1 << 20):
            return Outcome(Status.INAPPLICABLE)
        if trial.forward.raised is not None:
            return from_trouble(trial.forward.raised)
        whole = trial.forward.outputs
        sizes = [n for n in (1, 2, 7, 255, 256, rows - 1) if n < rows]
        for start, stop in [(0, n) for n in sizes] + [(rows - n, rows) for n in sizes]:
            inputs = part(trial, start, stop)
            if inputs is None:
                return Outcome(Status.INAPPLICABLE)
            observed = trial.call(Way(), inputs)
            if observed.raised is not None:
                return from_trouble(observed.raised)
            for name, y in observed.outputs.items():
                if not same_bits(y, whole[name][start:stop]):
                    text = f"entries {start} to {stop - 1} alone have other bits than among {rows}"
                    return Outcome(Status.VIOLATED, finding=Finding(name, text))
        return HELD


PROPERTY = BatchInvariance()
