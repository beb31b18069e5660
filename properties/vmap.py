"""A target under torch.func.vmap returns what a loop would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs, materialise
from normcheck.execution.observation import Observation
from normcheck.execution.transformed import (
    Transformed,
    framework_name,
    takes_parameters,
    without_buffers,
)
from normcheck.execution.way import Way
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "Vmap"]

_ELEMENTS = 640
_BATCH = 2
# Seeds of the standard tables, and of few drawn cases: torch's first vjp under vmap loads its
# compiler, two seconds that the quick profile lacks.
_DEEPER = range(40, 100)


class _Gradients(Enum):
    """Of what they are taken."""

    NONE = auto()
    OF_ALL = auto()
    OF_EACH = auto()


class Vmap(Property):
    """Batches along the first and the last dimension, of x alone and of all tensors, and grad."""

    name = "vmap"
    formats = ("float32", "float64")
    local = True
    explanation = Explanation(
        claim="Where torch.func.vmap takes the target, each result of a batch is right: batched "
        "along the first or the last dimension, x alone or with weight and bias, and so are the "
        "gradients by a batch: of vmap's results, and through vmap of torch.func.vjp.",
        why="A batching rule is code of its own: it moves dimensions, and one that reduces over "
        "the wrong one, or expects the batch first, mixes the samples of per-sample gradients.",
        bound="Each result is held to the budgets of its own inputs (docs/budgets.md). Judged in "
        f"float32 and float64, on some cases of at most {_ELEMENTS} elements. Refusing is right.",
        bugs=("https://github.com/pytorch/functorch/issues/534 (rule for the input gradient)",),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge a batch of one case and its neighbours."""
        case = trial.inputs.case
        looked_at = applies(trial, elements=_ELEMENTS, every=4, offset=2) and case.regime != "bad"
        if not looked_at or case.dtype not in ("float32", "float64"):
            return Outcome(Status.INAPPLICABLE)
        if trial.inputs.op.parts:
            return Outcome(Status.INAPPLICABLE, reason="tensors in parts are not batched")
        if framework_name(trial.adapter) != "torch":
            reason = f"vmap is torch's, but the target takes {framework_name(trial.adapter)} arrays"
            return Outcome(Status.UNSUPPORTED, reason=reason)
        excused = unready(trial)
        if excused is not None:
            return excused
        given = without_buffers(trial.inputs, trial.adapter)
        probes = Probes(trial)
        batched = ("x", "weight", "bias", "residual")
        _ask(probes, given, "batched along the first dimension", 0, ("x",))
        _ask(probes, given, "batched along the last dimension", -1, ("x",))
        if takes_parameters(trial.adapter):
            _ask(probes, given, "with a batch of every tensor", 0, batched)
        if trial.backward.raised is None:
            _ask(probes, given, "and differentiated", 0, ("x",), _Gradients.OF_ALL)
        if trial.backward.raised is None and case.seed in _DEEPER:
            words = "each differentiated by torch.func.vjp"
            _ask(probes, given, words, 0, ("x",), _Gradients.OF_EACH)
        return probes.outcome()


def _neighbours(given: Inputs, names: tuple[str, ...]) -> list[Inputs]:
    """The case with other values of some tensors, and of dy, the others as they are."""
    found = [given]
    for step in range(1, _BATCH):
        other = materialise(given.case.changed(seed=(given.case.seed + step) % 2**32))
        values = {n: other.tensors[n] for n in names if n in given.tensors}
        tensors = {**given.tensors, **values}
        # Another mask than the dy's own would let values into the padding.
        dy = given.dy if "mask" in given.tensors else other.dy
        found.append(replace(given, tensors=tensors, dy=dy))
    return found


def _ask(
    probes: Probes,
    given: Inputs,
    how: str,
    axis: int,
    names: tuple[str, ...],
    gradients: _Gradients = _Gradients.NONE,
) -> None:
    """Call once with a batch, and hold each result to the budget of its own inputs."""
    if probes.finding is not None:
        return
    members = _neighbours(given, names)
    batch = {
        n: torch.stack([member.tensors[n] for member in members], axis)
        for n in names
        if n in given.tensors
    }
    dy = {}
    if gradients is not _Gradients.NONE:
        dy = {n: torch.stack([member.dy[n] for member in members]) for n in given.dy}
    executor = probes.trial.session(Way()).executor
    observed = Transformed(executor, given).mapped(
        batch, axis, dy, functional=gradients is _Gradients.OF_EACH
    )
    words = f"under torch.func.vmap, {how}"
    if observed.raised is not None:
        probes.hold(words, observed, given)
        return
    for kind in (observed.outputs, observed.gradients):
        for name, value in kind.items():
            if value.dim() == 0 or value.shape[0] != len(members):
                shape = tuple(value.shape)
                probes.fail(name, f"shape is {shape}, but a batch of {len(members)} has {words}")
                return
    for index, member in enumerate(members):
        one = Observation(_at(observed.outputs, index), _at(observed.gradients, index))
        probes.hold(f"{words}, result {index}", one, member)


def _at(batch: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: value[index].contiguous() for name, value in batch.items()}


PROPERTY = Vmap()
