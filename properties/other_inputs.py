"""Inputs of a case with something changed: the same op on other values, shapes or parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.errors import UsageError
from normcheck.ops.op import Family, Op, Settings
from normcheck.properties.trial import Trial

__all__ = ["another", "expressible", "is_ordinary", "like_x", "mapped", "part", "reshaped"]

_DATA = ("x", "residual", "z")
_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


def is_ordinary(op: Op) -> bool:
    """Return whether it is known which dimensions of an op's tensors belong together.

    Data has the shape of x, parameters vary along the normalised dimensions or along channels.
    """
    names = {parameter.name for parameter in op.tensors}
    return names <= {*_DATA, *_PARAMETERS} and op.parameter_shape is None and not op.parts


def another(trial: Trial, steps: int = 1) -> Inputs:
    """Return other values of the same shapes: the case with another seed."""
    case = trial.inputs.case
    return materialise(case.changed(seed=(case.seed + 7919 * steps) % 2**32))


def expressible(trial: Trial, case: Case) -> Inputs | None:
    """Return the inputs of another case, None where op or target cannot express it."""
    if trial.adapter.conform(case) != case:
        return None
    try:
        return materialise(case)
    except UsageError:
        return None


def like_x(inputs: Inputs) -> tuple[str, ...]:
    """Return the names of the tensors that hold one value for each element of x."""
    return tuple(name for name in _DATA if name in inputs.tensors)


def mapped(
    inputs: Inputs,
    data: Callable[[Tensor], Tensor],
    parameter: Callable[[Tensor], Tensor] | None = None,
) -> Inputs:
    """Change every tensor of the shape of x, and every parameter, in one way each."""
    names = like_x(inputs)
    tensors = {
        name: data(t) if name in names else t if parameter is None else parameter(t)
        for name, t in inputs.tensors.items()
    }
    return replace(inputs, tensors=tensors, dy={name: data(dy) for name, dy in inputs.dy.items()})


def reshaped(
    trial: Trial, shape: tuple[int, ...], *, dims: int = 1, groups: int = 1, affine: bool = True
) -> Inputs | None:
    """Return the same elements in another shape, None where op or target cannot express it.

    Args:
        trial: The case.
        shape: As many elements.
        dims: Trailing dimensions that are normalised.
        groups: Number of groups.
        affine: Whether weight, bias and buffers stay; they take the shape that the op gives them.
    """
    inputs = trial.inputs
    case = inputs.case.changed(shape=shape, dims=dims, groups=groups, layout="contiguous")
    if not affine:
        case = case.changed(weight="none", bias="none", stats="none")
    made = expressible(trial, case)
    if made is None:
        return None
    own = {name: t for name, t in inputs.tensors.items() if name in made.tensors}
    if any(t.numel() != made.tensors[name].numel() for name, t in own.items()):
        return None
    tensors = {name: t.reshape(made.tensors[name].shape) for name, t in own.items()}
    dy = {name: t.reshape(shape) for name, t in inputs.dy.items()}
    reduction = inputs.op.reduce(shape, Settings(dims, groups))
    return replace(inputs, case=case, reduction=reduction, tensors=tensors, dy=dy)


def part(trial: Trial, start: int, stop: int) -> Inputs | None:
    """Return some entries of the first dimension, None where slices reach across it."""
    inputs, case = trial.inputs, trial.inputs.case
    op = inputs.op
    evaluated = case.mode == "eval"
    free = 0 not in inputs.reduction.over
    if op.family is Family.ROWS:
        free = case.dims < len(case.shape)
    if not is_ordinary(op) or not (free or evaluated):
        return None
    if "running_mean" in inputs.tensors and not evaluated:
        return None  # buffers average over samples
    shape = (stop - start, *case.shape[1:])
    narrow = case.changed(shape=shape, layout="contiguous")
    if trial.adapter.conform(narrow) != narrow:
        return None
    names = like_x(inputs)
    return replace(
        inputs,
        case=narrow,
        reduction=op.reduce(shape, Settings(case.dims, case.groups)),
        tensors={n: t[start:stop] if n in names else t for n, t in inputs.tensors.items()},
        dy={name: dy[start:stop] for name, dy in inputs.dy.items()},
    )
