"""Memory layout does not matter: strides, offsets and broadcasts give the contiguous answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from normcheck.cases.materialise import Inputs
from normcheck.execution.arrangement import ARRANGEMENTS
from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "LayoutIndependence"]

Arranged = tuple[tuple[str, str], ...]

_DATA = ("transposed", "strided", "offset", "pitched", "packed", "reversed", "channels_last")
_HIGHER_RANK = ("packed", "reversed", "channels_last")
_PARAMETER = ("strided", "offset")
_GRADIENT = ("transposed", "strided", "offset", "channels_last")


class LayoutIndependence(Property):
    """Every argument and dy in every layout, alone and crossed."""

    name = "layout_independence"
    local = True
    explanation = Explanation(
        claim="Whatever the strides, the storage offset and the alignment of x, residual, weight, "
        "bias, buffers and dy, alone or together, the answer is within the budget of the "
        "contiguous one, or the call is refused.",
        why="A kernel that takes the row stride of x for dy, ignores a storage offset or reads a "
        "broadcast dy (what sum().backward() feeds) as if it were dense returns other rows' "
        "values, or reads beyond its tensor, without any error.",
        bound="The budgets of forward_accuracy and gradients; bits may differ, because another "
        "kernel may serve another layout. Memory beside the arguments must stay as it was.",
        bugs=(
            "https://github.com/unslothai/unsloth/pull/10617 (254 of 472 layouts of x and dy)",
            "https://github.com/pytorch/pytorch/issues/131750 (storage offset ignored)",
            "https://github.com/pytorch/pytorch/issues/92671 (dy in another memory format)",
            "https://github.com/ModelTC/LightLLM/issues/1467 (stride of the last dimension)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in many layouts."""
        if not applies(trial, elements=4096, every=3) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        base = trial.backward if trial.backward.gradients else trial.forward
        for arranged in [*_alone(trial.inputs), *_crossed(trial.inputs)]:
            way = Way(gradients=bool(base.gradients), arranged=arranged)
            words = " and ".join(f"{name} {ARRANGEMENTS[how]}" for name, how in arranged)
            observed = probes.ask(f"with {words}", way, base=base)
            for name in observed.trespassed:
                probes.fail(name, f"memory beside {name} was written to, with {words}")
        overwritten = trial.policy.inplace
        for words, repeated in _broadcasts(
            trial.inputs, gradients=bool(base.gradients), overwritten=overwritten
        ):
            way = Way(gradients=bool(base.gradients))
            # Of the same values, written out: what they alone do is for plain calls to show.
            probes.ask(words, way, repeated, base=trial.call(way, _written_out(repeated)))
        return probes.outcome()


def _choices(inputs: Inputs) -> dict[str, tuple[str, ...]]:
    """Return the layouts of every argument that say something about its shape."""
    rank = inputs.tensors["x"].dim()
    known: dict[str, tuple[str, ...]] = {"x": _DATA, "residual": _DATA, "dy": _GRADIENT}
    known = {**dict.fromkeys(inputs.tensors, _PARAMETER), **known}
    return {
        name: tuple(how for how in hows if rank > 2 or how not in _HIGHER_RANK)
        for name, hows in known.items()
        if name in inputs.tensors or name == "dy"
    }


def _alone(inputs: Inputs) -> Iterator[Arranged]:
    for name, hows in _choices(inputs).items():
        for how in hows:
            yield ((name, how),)


def _crossed(inputs: Inputs) -> Iterator[Arranged]:
    """Everything at once; other layouts meet in other cases."""
    choices = _choices(inputs)
    for turn in range(2):
        start = inputs.case.seed + turn
        yield tuple(
            (name, hows[(start + place) % len(hows)])
            for place, (name, hows) in enumerate(choices.items())
        )


def _broadcasts(
    inputs: Inputs, *, gradients: bool, overwritten: Collection[str]
) -> Iterator[tuple[str, Inputs]]:
    """Stride 0: an expanded x, unless it is overwritten, and the dy that a sum feeds back."""
    x = inputs.tensors["x"]
    if x.dim() > 1 and x.shape[0] > 1 and "x" not in overwritten:
        expanded = {**inputs.tensors, "x": x[:1].expand(x.shape)}
        yield "with x expanded along its first dimension", replace(inputs, tensors=expanded)
    # What a target writes to padding is not said, and so neither is what a dy there means.
    if gradients and "mask" not in inputs.tensors:
        ones = {name: dy.new_ones(()).expand(dy.shape) for name, dy in inputs.dy.items()}
        yield "with the expanded dy that sum().backward() feeds", replace(inputs, dy=ones)


def _written_out(inputs: Inputs) -> Inputs:
    """The same values without a stride of 0."""
    tensors = {name: tensor.contiguous() for name, tensor in inputs.tensors.items()}
    return replace(inputs, tensors=tensors, dy={n: dy.contiguous() for n, dy in inputs.dy.items()})


PROPERTY = LayoutIndependence()
