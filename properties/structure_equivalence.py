"""One norm written as another: groups as samples, samples as channels, positions as samples."""

from __future__ import annotations

import math
from collections.abc import Iterator

from normcheck.cases.materialise import Inputs
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import is_ordinary, reshaped
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter

__all__ = ["PROPERTY", "StructureEquivalence"]


class StructureEquivalence(Property):
    """The same slices, posed to the target as other groups, channels or dimensions."""

    name = "structure_equivalence"
    explanation = Explanation(
        claim="A group norm of G groups is one of a single group on N G samples, an instance norm "
        "is one of a single sample with N C channels, a norm over several dimensions is one over "
        "their product.",
        why="Groups that are ignored, reduced in the wrong order or taken from the wrong axis look "
        "like noise on data whose groups resemble each other.",
        bound="The budget of forward_accuracy for the same slices in their other shape.",
        bugs=(
            "https://github.com/state-spaces/mamba/pull/910 (group size not passed)",
            "https://github.com/vllm-project/vllm/pull/16311 (across heads instead of per head)",
            "https://github.com/PaddlePaddle/Paddle/pull/43476 (several normalised dimensions)",
        ),
    )

    def concerns(self, adapter: Adapter) -> bool:
        """Ops that can be written as another of their kind."""
        op = adapter.op
        named = any(op.parameter(name) for name in ("num_groups", "normalized_shape"))
        return is_ordinary(op) and (named or op.name == "instance_norm")

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in its equivalent shapes."""
        if not applies(trial, elements=1 << 13, every=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        for words, inputs in _equivalents(trial):
            probes.ask(words, Way(), inputs)
        if not probes.held and probes.finding is None and not probes.refused:
            return Outcome(Status.INAPPLICABLE)
        return probes.outcome()


def _equivalents(trial: Trial) -> Iterator[tuple[str, Inputs]]:
    case = trial.inputs.case
    shape = case.shape
    found: list[tuple[str, Inputs | None]] = []
    if trial.inputs.op.parameter("num_groups") is not None:
        split = (shape[0] * case.groups, shape[1] // case.groups, *shape[2:])
        words = f"as one group on {split[0]} samples"
        found.append((words, reshaped(trial, split, affine=False)))
    elif case.op == "instance_norm":
        flat = (1, shape[0] * shape[1], *shape[2:])
        found.append(("as one sample of all channels", reshaped(trial, flat, affine=False)))
    elif case.dims > 1:
        kept = len(shape) - case.dims
        merged = (*shape[:kept], math.prod(shape[kept:]))
        found.append(("with the normalised dimensions as one", reshaped(trial, merged)))
    yield from ((words, inputs) for words, inputs in found if inputs is not None)


PROPERTY = StructureEquivalence()
