"""Leading dimensions are only a way to count rows: flattening them changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from normcheck.execution.way import Way
from normcheck.ops.op import Family
from normcheck.properties.other_inputs import is_ordinary, reshaped
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "RankIndependence"]


class RankIndependence(Property):
    """The same rows with one to five dimensions in front of them, or behind the channels."""

    name = "rank_independence"
    explanation = Explanation(
        claim="The same rows in a tensor of rank 1 to 5 (the same positions in one to three "
        "spatial dimensions) give the same outputs and gradients, or are refused.",
        why="Taking the rows from shape[0], or the columns from the weight's last dimension, is "
        "right for two dimensions and wrong for the (batch, tokens, hidden) of every model.",
        bound="The budgets of forward_accuracy and gradients, or the bits of the original shape.",
        bugs=(
            "https://github.com/flagos-ai/FlagGems/issues/5392 (rows from shape[0])",
            "https://github.com/pytorch/pytorch/pull/192016 (several normalised dimensions)",
            "https://github.com/onnx/onnx-mlir/pull/3030 (spatial rank 2 assumed)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops that take any leading dimensions."""
        return is_ordinary(adapter.op)

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in other ranks."""
        if not is_ordinary(trial.inputs.op) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        if not applies(trial, elements=1 << 13, every=3):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        case = trial.inputs.case
        probes = Probes(trial)
        way = Way(gradients=bool(trial.backward.gradients))
        for shape in dict.fromkeys(_shapes(trial)):
            inputs = reshaped(trial, shape, dims=case.dims, groups=case.groups)
            if inputs is not None and shape != case.shape:
                size = "x".join(map(str, shape))
                probes.ask(f"with the same rows in shape {size}", way, inputs)
        if not probes.held and probes.finding is None and not probes.refused:
            return Outcome(Status.INAPPLICABLE)
        return probes.outcome()


def _shapes(trial: Trial) -> Iterator[tuple[int, ...]]:
    case = trial.inputs.case
    if trial.inputs.op.family is Family.CHANNELS:
        head, tail = case.shape[:2], case.shape[2:]
        if tail:
            positions = math.prod(tail)
            divisor = next((d for d in (2, 3, 5, 7) if positions % d == 0), 1)
            yield (*head, positions)
            yield (*head, divisor, positions // divisor)
            yield (*head, positions // divisor, divisor)
            yield (*head, 1, divisor, positions // divisor)
        return
    kept = len(case.shape) - case.dims
    rows, tail = math.prod(case.shape[:kept]), case.shape[kept:]
    divisor = next((d for d in (2, 3, 5, 7, 11) if rows % d == 0), 1)
    if rows == 1:
        yield tail
    yield (rows, *tail)
    yield (1, rows, *tail)
    yield (rows, 1, *tail)
    yield (divisor, rows // divisor, *tail)
    yield (rows // divisor, 1, divisor, *tail)
    yield (1, divisor, 1, rows // divisor, *tail)


PROPERTY = RankIndependence()
