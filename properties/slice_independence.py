"""What one slice holds does not reach another: rows, groups and channels are independent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.cases.regimes import edge_value
from normcheck.execution.observation import Observation
from normcheck.execution.session import same_bits
from normcheck.execution.way import Way
from normcheck.numerics.formats import FloatFormat
from normcheck.properties.other_inputs import is_ordinary
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "SliceIndependence"]


class SliceIndependence(Property):
    """Every second slice replaced by large values; the others watched."""

    name = "slice_independence"
    explanation = Explanation(
        claim="When every second slice of x is replaced by huge values, and of dy likewise, output "
        "and input gradient of the other slices stay within budget.",
        why="Statistics of the neighbour, a block that reads past its row, and a mean over more "
        "than one's own group leak a little of every slice into the next: unseen while all slices "
        "are of one size.",
        bound="The same bits, or the budgets of forward_accuracy and gradients on the new values.",
        bugs=(
            "https://github.com/ROCm/aiter/issues/5044 (next row written)",
            "https://github.com/flagos-ai/FlagGems/pull/59 (rows mixed inside a tile)",
            "https://github.com/vllm-project/vllm/pull/16311 (across heads)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops whose slices are known."""
        return is_ordinary(adapter.op)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case beside huge neighbours."""
        inputs = trial.inputs
        if not is_ordinary(inputs.op) or not applies(trial, elements=1 << 13, every=3, offset=1):
            return Outcome(Status.INAPPLICABLE)
        if inputs.reduction.count * 2 > inputs.case.elements or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        way = Way(gradients="x" in trial.backward.gradients)
        base = trial.backward if way.gradients else trial.forward
        for parity in (0, 1):
            mask = _every_second(inputs, parity)
            changed = _with_huge(inputs, mask)
            observed = trial.call(way, changed)
            if observed.raised is None and _kept(observed, base, ~mask):
                probes.held += 1
            else:
                probes.hold("beside slices of huge values", observed, changed)
        return probes.outcome()


def _every_second(inputs: Inputs, parity: int) -> Tensor:
    """Boolean, shape of x: the slices that are replaced."""
    reduction = inputs.reduction
    count = 1
    for size in reduction.slices:
        count *= size
    chosen = (torch.arange(count) % 2 == parity).reshape(reduction.slices)
    return chosen.expand(reduction.view).reshape(inputs.case.shape)


def _with_huge(inputs: Inputs, mask: Tensor) -> Inputs:
    x = inputs.tensors["x"]
    fmt = FloatFormat.of(x.dtype)
    # Room for the sums of the slices that are watched, which stay as they are.
    huge = edge_value(fmt, inputs.reduction.count) / 16
    third = torch.arange(x.numel()).reshape(x.shape) % 3 == 0
    pattern = torch.full(x.shape, huge / 2, dtype=torch.float64).masked_fill(third, -huge)
    tensors = {**inputs.tensors, "x": torch.where(mask, pattern.to(x.dtype), x)}
    dy = {name: torch.where(mask, d * 256, d) for name, d in inputs.dy.items()}
    return replace(inputs, tensors=tensors, dy=dy)


def _kept(observed: Observation, base: Observation, kept: Tensor) -> bool:
    """Whether the slices that were not replaced have the bits that they had."""
    pairs = [(observed.outputs[n], base.outputs[n]) for n in base.outputs if n in observed.outputs]
    if "x" in base.gradients and "x" in observed.gradients:
        pairs.append((observed.gradients["x"], base.gradients["x"]))
    return all(
        new.shape == old.shape == kept.shape and same_bits(new[kept], old[kept])
        for new, old in pairs
    )


PROPERTY = SliceIndependence()
