"""What goes into a target in parts and what comes back, under the op's names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from normcheck.ops.op import Op

__all__ = ["UnexpectedReturn", "describe", "in_parts", "named"]


class UnexpectedReturn(Exception):
    """The target returned something that is not what the op returns."""


def named(
    returned: object, op: Op, text: str, is_array: Callable[[object], bool]
) -> dict[str, Any]:
    """Give what a target returned the names of the op's outputs; parts of one are stacked.

    Raises:
        UnexpectedReturn: It is not as many arrays as the op has outputs, or parts differ in shape.
    """
    expected = op.names_in_parts(op.outputs)
    items: list[Any] = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    is_sequence = isinstance(returned, (tuple, list))
    if (
        len(items) == len(expected)
        and is_sequence == (len(expected) > 1)
        and all(map(is_array, items))
    ):
        return joined(dict(zip(expected, items, strict=True)), op, text)
    what = "one tensor" if len(expected) == 1 else f"the tensors ({', '.join(expected)})"
    raise UnexpectedReturn(f"{text} returned {describe(returned)}, but {op.name} returns {what}")


def describe(returned: object) -> str:
    """Describe any object in a few words, without its contents."""
    if returned is None:
        return "nothing"
    if isinstance(returned, (tuple, list)):
        inner = ", ".join(describe(item) for item in returned[:4])
        return f"a {type(returned).__name__} ({inner})"
    return "a Tensor" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"


def in_parts(given: Mapping[str, Any], op: Op, names: Mapping[str, str]) -> dict[str, Any]:
    """Cut stacked arrays into the parts that a target takes, under its own names for them."""
    found: dict[str, Any] = {}
    for name, array in given.items():
        parts = op.parts_of(name)
        if parts:
            found.update({names[part]: array[i] for i, part in enumerate(parts)})
        else:
            found[name] = array
    return found


def joined(outputs: Mapping[str, Any], op: Op, text: str) -> dict[str, Any]:
    """Stack the parts of every output that comes in parts.

    Raises:
        UnexpectedReturn: Parts of one output differ in shape or dtype.
    """
    found: dict[str, Any] = {}
    for name in op.outputs:
        parts = op.parts_of(name)
        if not parts:
            found[name] = outputs[name]
            continue
        forms = {(tuple(outputs[part].shape), str(outputs[part].dtype)) for part in parts}
        if len(forms) > 1:
            kinds = " and ".join(f"{shape} of {dtype}" for shape, dtype in sorted(forms))
            raise UnexpectedReturn(
                f"{text} returned {', '.join(parts)} as {kinds}, but both must be alike"
            )
        found[name] = _stack([outputs[part] for part in parts])
    return found


def _stack(parts: list[Any]) -> Any:
    """Stack arrays of any framework along a new first dimension."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts)
    top = type(parts[0]).__module__.partition(".")[0]
    arrays: Any = importlib.import_module("numpy" if top == "numpy" else "jax.numpy")
    return arrays.stack(parts)
