"""Which parameter of a target takes which parameter of the op. Printed, never guessed silently."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from normcheck.errors import TargetError
from normcheck.ops.op import Family, Kind, Op
from normcheck.targets import aliases

__all__ = ["Binding", "bind_function", "declared_eps", "import_lines", "parameters_of"]


@dataclass(frozen=True, slots=True)
class Binding:
    """The answer for one target.

    Attributes:
        names: Op parameter to the target's own name for it.
        destinations: The target's parameters that receive the outputs, in the op's order.
        axis: The target's parameter that takes the op's axis, "" without one.
        fixed: The target's parameters that the user set.
        defaults: The target's parameters that keep their default.
        missing: Op parameters that the target does not have.
        positional: The target's parameters that cannot be passed by name, in order.
        axis_value: The op's axis: the last one, or the first of a weight norm.
    """

    names: Mapping[str, str]
    destinations: tuple[str, ...] = ()
    axis: str = ""
    fixed: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    axis_value: int = -1

    def describe(self) -> str:
        """Return the binding in one line, as it is printed and recorded."""
        parts = [f"{mine}\u2190{own}" if mine != own else own for own, mine in self.names.items()]
        parts += [f"{name}\u2190output" for name in self.destinations]
        parts += [f"{self.axis}\u2190{self.axis_value}"] if self.axis else []
        parts += [f"{name}={value!r} (set)" for name, value in self.fixed.items()]
        parts += [f"{name}={value} (default)" for name, value in self.defaults.items()]
        text = ", ".join(parts)
        return f"{text}; no {', no '.join(self.missing)}" if self.missing else text


def parameters_of(target: Callable[..., object], text: str, op: Op) -> list[inspect.Parameter]:
    """Return the target's parameters.

    Raises:
        TargetError: It has no signature, or one that hides its parameters.
    """
    try:
        found = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        raise TargetError(
            f"{text} has no signature that Python can read; {adaptor(op, text, 'a0, a1, ...')}"
        ) from None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in found if p.kind not in variadic]
    if not named:
        raise TargetError(
            f"{text} takes {', '.join(str(p) for p in found) or 'nothing'}, so its parameters "
            f"cannot be told; {adaptor(op, text, 'x')}"
        )
    return named


def import_lines(text: str) -> list[str]:
    """Return Python that imports what the text of a target names."""
    place, _, name = text.rpartition(":")
    top = name.partition(".")[0]
    if not place.endswith(".py"):
        return [f"from {place} import {top}"]
    path = Path(place).resolve()
    return [
        f"import sys; sys.path.insert(0, {str(path.parent)!r})",
        f"from {path.stem} import {top}",
    ]


def adaptor(op: Op, text: str, call: str) -> str:
    """Return the text of an adaptor to paste."""
    name = text.rpartition(":")[2]
    lines = [
        "paste this adaptor into adaptor.py, complete it, and name adaptor.py:" + op.name,
        *(f"    {line}" for line in import_lines(text)),
        f"    def {op.name}({', '.join(_parameters(op))}):",
        f"        return {name}({call})",
    ]
    return "\n".join(lines)


def _parameters(op: Op) -> list[str]:
    """Return the names under which a target may take the op's parameters."""
    return op.names_in_parts(tuple(p.name for p in op.parameters))


def match(
    op: Op,
    known: Mapping[str, tuple[str, ...]],
    parameters: list[inspect.Parameter],
    text: str,
    taken: Mapping[str, object],
) -> dict[str, str]:
    """Bind by alias; names that differ from the alias only in case or underscores match too.

    Raises:
        TargetError: Two of the target's parameters could be the same one of the op.
    """
    names: dict[str, str] = {}
    free = {_plain(p.name): p.name for p in parameters if p.name not in taken}
    for own, words in known.items():
        found = [free[_plain(word)] for word in words if _plain(word) in free]
        found = [name for name in dict.fromkeys(found) if name not in names.values()]
        if own in found:
            found = [own]
        if len(found) > 1:
            call = ", ".join(f"{p.name}=..." for p in parameters)
            raise TargetError(
                f"{text}: {' and '.join(found)} could both be the {own} of {op.name}; "
                f"{adaptor(op, text, call)}"
            )
        if found:
            names[own] = found[0]
    return names


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def declared_eps(fixed: Mapping[str, object], op: Op) -> object:
    """Return the epsilon that the user set, under whichever of its names; None without one."""
    words = {_plain(word) for word in aliases.of(op).get("eps", ())}
    return next((value for name, value in fixed.items() if _plain(name) in words), None)


def bind_function(
    target: Callable[..., object], text: str, op: Op, fixed: Mapping[str, object]
) -> Binding:
    """Bind a function's parameters to an op's.

    Args:
        target: The function.
        text: What the user called it.
        op: The op.
        fixed: Parameters that the user set to a value.

    Raises:
        TargetError: A parameter without a default is none of the op's, or several could be; the
            message prints the adaptor to paste.
    """
    parameters = parameters_of(target, text, op)
    unknown = set(fixed) - {p.name for p in parameters}
    if unknown:
        raise TargetError(f"{text} has no parameter {sorted(unknown)[0]!r}, which --set names")
    names = match(op, aliases.of(op), parameters, text, fixed)
    rest = [p for p in parameters if p.name not in names.values() and p.name not in fixed]
    required = [p for p in rest if p.default is inspect.Parameter.empty]
    results = {*aliases.DESTINATION, *(_plain(n) for n in op.names_in_parts(op.outputs))}
    destinations = [p.name for p in required if _plain(p.name) in results]
    axis = _axis(op, rest, names)
    strange = [p.name for p in required if p.name not in destinations and p.name != axis]
    outputs = op.names_in_parts(op.outputs)
    if destinations and not strange and len(destinations) != len(outputs):
        raise TargetError(
            f"{text} writes to {', '.join(destinations)}, but {op.name} has the outputs "
            f"{', '.join(outputs)}; {adaptor(op, text, '...')}"
        )
    absent = _absent(op, names)
    if strange or absent:
        what = f"parameter {strange[0]!r}" if strange else f"no parameter for {absent[0]}"
        call = ", ".join(f"{p.name}=..." for p in parameters)
        known = ", ".join(_parameters(op))
        lead = f"{text} has {what}, but {op.name} has {known}; "
        hint = f"fix it with --set {strange[0]}=VALUE, or " if strange else ""
        raise TargetError(lead + hint + adaptor(op, text, call))
    defaults = {
        p.name: repr(p.default)
        for p in rest
        if p.default is not inspect.Parameter.empty and p.name != axis
    }
    missing = tuple(
        p.name for p in op.parameters if not {p.name, *op.parts_of(p.name)} & set(names)
    )
    if axis and "normalized_shape" in missing:
        missing = tuple(name for name in missing if name != "normalized_shape")
    positional = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    return Binding(
        names, tuple(destinations), axis, dict(fixed), defaults, missing,
        tuple(p.name for p in positional), op.axis,
    )  # fmt: skip


def _absent(op: Op, names: Mapping[str, str]) -> list[str]:
    """Return what has to be passed but is not: inputs, and either all parts of a tensor or none."""
    found = []
    for parameter in op.parameters:
        parts = op.parts_of(parameter.name) or (parameter.name,)
        needed = parameter.kind is Kind.TENSOR and not parameter.optional
        if needed or any(part in names for part in parts):
            found += [part for part in parts if part not in names]
    return found


def _axis(op: Op, rest: list[inspect.Parameter], names: Mapping[str, str]) -> str:
    """An axis parameter of an op over rows gets the op's axis."""
    if op.family is not Family.ROWS or "normalized_shape" in names:
        return ""
    # Without a default, and where it may be the last one, it can as well be the size of the rows.
    known = [p.name for p in rest if op.axis == 0 or p.default is not inspect.Parameter.empty]
    return next((name for name in known if name in aliases.AXIS), "")
