"""One calling convention for every target: tensors in, named outputs and gradients out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from normcheck.cases.case import DEFAULT_MOMENTUM, Case
from normcheck.cases.corpus import expressible
from normcheck.cases.materialise import Inputs
from normcheck.errors import TargetError, UsageError
from normcheck.ops import catalogue
from normcheck.ops.op import Op
from normcheck.policy import Policy
from normcheck.targets.binding import Binding
from normcheck.targets.frameworks import Call, Framework
from normcheck.targets.returns import UnexpectedReturn, describe, in_parts, named

__all__ = [
    "Adapter",
    "FunctionAdapter",
    "UnexpectedReturn",
    "argument",
    "conform",
    "describe",
    "named",
]


class Adapter(Protocol):
    """A target that can be called with an op's parameters."""

    @property
    def text(self) -> str:
        """What the user called the target."""

    @property
    def written(self) -> object:
        """The function or the class, as it was written."""

    @property
    def op(self) -> Op:
        """The op that it is judged as."""

    @property
    def binding(self) -> Binding:
        """How its parameters were bound."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What it cannot express, in words."""

    def conform(self, case: Case) -> Case:
        """Return the nearest case that the target can express."""

    def prepare(self, inputs: Inputs, tensors: Mapping[str, Tensor]) -> Call:
        """Make ready to call with these tensors, which the call may own."""


def conform(case: Case, missing: tuple[str, ...], eps: float | None) -> Case:
    """Change what a target without some parameters cannot express.

    Args:
        case: Any case of the op.
        missing: The op's parameters that the target does not have.
        eps: The target's own epsilon, where it takes none.
    """
    changes: dict[str, object] = {}
    for name in ("weight", "bias"):
        if name in missing:
            changes[name] = "none"
    if "normalized_shape" in missing:
        changes["dims"] = 1
    if "training" in missing or "use_input_stats" in missing:
        changes["mode"] = "train"
    if "running_mean" in missing or "running_var" in missing:
        changes.update(stats="none", mode="train", momentum=DEFAULT_MOMENTUM)
    elif "momentum" in missing:
        changes["momentum"] = 0.1  # what every framework defaults to
    if "eps" in missing:
        changes["eps"] = eps
    if "group_size" in missing:
        changes["groups"] = 1
    changed = case.changed(**changes)
    return expressible(changed, catalogue.find(case.op)) or changed


@dataclass(frozen=True, slots=True)
class FunctionAdapter:
    """A plain function of tensors or of another framework's arrays."""

    function: Callable[..., object]
    text: str
    op: Op
    binding: Binding
    policy: Policy
    framework: Framework
    eps: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def written(self) -> object:
        """The function."""
        return self.function

    def conform(self, case: Case) -> Case:
        """Return the nearest case that the function can express."""
        changed = conform(case, self.binding.missing, self.eps)
        # A parameter called hidden_size or dim takes one number, not a shape.
        if self.binding.axis or "shape" not in self.binding.names.get("normalized_shape", "shape"):
            changed = replace(changed, dims=1)
        return changed

    def prepare(self, inputs: Inputs, tensors: Mapping[str, Tensor]) -> Call:
        """Make ready to call with these tensors."""
        arguments = dict(self.binding.fixed)
        if self.binding.axis:
            arguments[self.binding.axis] = self.op.axis
        for own, mine in self.binding.names.items():
            arguments[mine] = argument(own, mine, inputs, tensors, self.policy)
        by_argument = {
            self.binding.names[n]: t for n, t in tensors.items() if n in self.binding.names
        }
        written = self._written(tensors, by_argument, arguments)

        def run(given: Mapping[str, Any]) -> dict[str, Any]:
            named_arguments = {**arguments, **in_parts(given, self.op, self.binding.names)}
            # Trailing defaults need no repeating; one in the middle keeps its place.
            last = [n for n in self.binding.positional if n in named_arguments]
            upto = (
                self.binding.positional[: 1 + self.binding.positional.index(last[-1])]
                if last
                else ()
            )
            first = [named_arguments.pop(n, self._default(n)) for n in upto]
            returned = self.function(*first, **named_arguments)
            if returned is None and written:
                return dict(written)
            return named(returned, self.op, self.text, self.framework.is_array)

        names = {
            own: own if self.op.parts_of(own) else self.binding.names[own]
            for own in tensors
            if {own, *self.op.parts_of(own)} & set(self.binding.names)
        }
        return self.framework.call(run, tensors, names)

    def _parts(self, output: str, y: Tensor) -> list[Tensor]:
        """Return the tensors that an output is written to."""
        return [y[i] for i in range(len(y))] if self.op.parts_of(output) else [y]

    def _default(self, name: str) -> object:
        """Return the default of a parameter that cannot be passed by name."""
        return inspect.signature(self.function).parameters[name].default

    def _written(
        self,
        tensors: Mapping[str, Tensor],
        by_argument: Mapping[str, Tensor],
        arguments: dict[str, object],
    ) -> dict[str, Tensor]:
        """Return the tensors that hold the outputs of a target that returns nothing."""
        if self.binding.destinations:
            made = {
                # Poisoned: what is never written must not look right by chance.
                output: torch.full_like(tensors["x"], float("nan"))
                for output in self.op.outputs
            }
            parts = [part for output, y in made.items() for part in self._parts(output, y)]
            arguments.update(zip(self.binding.destinations, parts, strict=True))
            return made
        if self.policy.inplace:
            owners = [self.binding.names.get(name, name) for name in self.policy.inplace]
            stacked = {name: t for name, t in tensors.items() if self.op.parts_of(name)}
            known = {**by_argument, **stacked}
            return {
                output: known[mine]
                for output, mine in zip(self.op.outputs, owners, strict=False)
                if mine in known
            }
        return {}


def argument(
    own: str, mine: str, inputs: Inputs, tensors: Mapping[str, Tensor], policy: Policy
) -> object:
    """Return the value of one of the op's parameters for a call."""
    case = inputs.case
    match own:
        case "normalized_shape":
            shape = inputs.normalized_shape
            return shape if "shape" in mine else shape[0]
        case "num_groups":
            return case.groups
        case "training" | "use_input_stats":
            return case.mode == "train"
        case "momentum":
            return 1.0 - case.momentum if policy.momentum == "old" else case.momentum
        case "eps":
            return inputs.eps
        case "group_size":
            return case.shape[-1] // case.groups
    return tensors.get(own)


def own_epsilon(op: Op, binding: Binding, declared: object) -> tuple[float | None, str]:
    """Return the epsilon of a target that takes none, and a note; None where it takes one."""
    if "eps" not in binding.missing:
        return None, ""
    if declared is not None:
        try:
            return float(str(declared)), ""
        except ValueError:
            raise UsageError(f"eps is {declared!r}, but must be a number") from None
    return op.eps, f"takes no eps: judged at {op.eps:g}; declare its own with --set eps=VALUE"


def refuse_unless_callable(found: object, text: str) -> Callable[..., object]:
    """Return ``found`` if it can be called.

    Raises:
        TargetError: It cannot.
    """
    if not callable(found):
        raise TargetError(
            f"{text} is {describe(found)}, but must be callable or an nn.Module class"
        )
    return found
