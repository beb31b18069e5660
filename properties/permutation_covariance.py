"""Permuting features, or slices, permutes the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.cases.generator import hashes
from normcheck.cases.materialise import Inputs
from normcheck.execution.way import Way
from normcheck.ops.op import Family
from normcheck.properties.other_inputs import is_ordinary, mapped
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "PermutationCovariance"]


class PermutationCovariance(Property):
    """The last dimension with its parameters, and the first dimension, in another order."""

    name = "permutation_covariance"
    explanation = Explanation(
        claim="With the last dimension in another order (weight and bias along with it), and with "
        "the first dimension in another order, the answer is the same in that order.",
        why="A tail that is left out, a dispatch that looks at the first rows only and a block "
        "that takes its neighbour's statistics give an answer that depends on the position.",
        bound="The budgets of forward_accuracy and gradients: sums are added in another order.",
        bugs=(
            "https://github.com/flashinfer-ai/flashinfer/pull/3879 (last partial warp dropped)",
            "https://github.com/tenstorrent/tt-metal/pull/57223 (first batch only)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops whose parameters vary along known dimensions."""
        return is_ordinary(adapter.op)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in other orders."""
        if not is_ordinary(trial.inputs.op) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        if not applies(trial, elements=1 << 13, every=3, offset=2):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        way = Way(gradients=bool(trial.backward.gradients))
        inputs = trial.inputs
        probes.ask("with the first dimension in another order", way, _permuted(inputs, 0))
        if len(inputs.case.shape) > 1:
            probes.ask("with the last dimension in another order", way, _permuted(inputs, -1))
        return probes.outcome()


def _permuted(inputs: Inputs, axis: int) -> Inputs:
    x = inputs.tensors["x"]
    order = torch.argsort(hashes(x.shape[axis], inputs.case.seed ^ 0x5BD1E995))

    def data(tensor: Tensor) -> Tensor:
        return tensor.index_select(axis, order)

    def parameter(tensor: Tensor) -> Tensor:
        rank = inputs.case.dims if inputs.op.family is Family.ROWS else 1
        along = axis == -1 if inputs.op.family is Family.ROWS else x.dim() == 2 and axis == -1
        if (axis == 0 and x.dim() == rank) or (along and tensor.shape[-1:] == x.shape[-1:]):
            return tensor.index_select(axis, order)
        return tensor

    return mapped(inputs, data, parameter)


PROPERTY = PermutationCovariance()
