"""Known ways to be wrong: classes with real bugs, and mutants that are wrong in just one way.

A class says what goes wrong, where it hides and who it happened to (`classes.toml`). A mutant is an
ordinary target of one class, with the property that must catch it (`mutants.toml`). Importing this
module imports no torch, and reads nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from normcheck.errors import UsageError, nearest

__all__ = ["FailureClass", "FailureMode", "classes", "find", "find_class", "modes", "of_class"]
__all__ += ["of_op"]

_HOME = "normcheck.properties.failure_modes"
_DATA = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class FailureClass:
    """One kind of fault that has shipped.

    Attributes:
        id: ``K01`` to ``K40``.
        name: A few words.
        text: What goes wrong, a paragraph.
        hides: Which test data do not show it.
        trigger: Which data do.
        bugs: Real ones: address and, in parentheses, what was wrong.
        cannot: What no program on a CPU can show of it, and why; "" where nothing is left out.
    """

    id: str
    name: str
    text: str
    hides: str
    trigger: str
    bugs: tuple[str, ...]
    cannot: str = ""


@dataclass(frozen=True, slots=True)
class FailureMode:
    """One way to be wrong.

    Attributes:
        name: Unique, of ``[a-z0-9_]``.
        op: The op that the mutant claims to be.
        summary: What is wrong, one line.
        caught_by: The property that must catch it.
        place: Module and function of the mutant.
        kind: Id of its class.
        dtype: A format of the input that shows it.
        profile: The smallest profile that shows it.
        policies: Declarations under which it is judged.
        deadly: Whether it ends the process that calls it, and so is to be called in a child.
    """

    name: str
    op: str
    summary: str
    caught_by: str
    place: str
    kind: str
    dtype: str = "float32"
    profile: str = "quick"
    policies: tuple[str, ...] = ()
    deadly: bool = False

    @property
    def target(self) -> str:
        """The mutant as a target."""
        return f"{_HOME}.{self.place}"

    @property
    def command(self) -> str:
        """The shortest command that shows it caught."""
        words = ["normcheck run", self.target, "--op", self.op, "--dtype", self.dtype]
        words += ["--profile", self.profile, "--property", self.caught_by]
        words += [word for policy in self.policies for word in ("--policy", policy)]
        return " ".join([*words, "--fail-fast"])


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / name).read_text(encoding="utf-8"))


@cache
def classes() -> tuple[FailureClass, ...]:
    """Return all classes, in the order of their ids."""
    found = []
    for key, entry in _table("classes.toml").items():
        entry["bugs"] = tuple(entry["bugs"])
        found.append(FailureClass(id=key, **{k: _flowing(v) for k, v in entry.items()}))
    return tuple(sorted(found, key=lambda c: c.id))


def _flowing(value: Any) -> Any:
    """Join the lines of a paragraph."""
    return " ".join(value.split()) if isinstance(value, str) else value


@cache
def modes() -> tuple[FailureMode, ...]:
    """Return all failure modes, by op, in the order of the data."""
    found = []
    for op, modules in _table("mutants.toml").items():
        for module, entries in modules.items():
            for name, (kind, caught_by, summary, *rest) in entries.items():
                more: dict[str, Any] = dict(rest[0]) if rest else {}
                more["policies"] = tuple(more.get("policies", ()))
                place = f"{module}:{name}"
                found.append(
                    FailureMode(f"{op}_{name}", op, summary, caught_by, place, kind, **more)
                )
    return tuple(found)


def of_op(op: str) -> tuple[FailureMode, ...]:
    """Return the failure modes of one op; empty if it has none."""
    return tuple(mode for mode in modes() if mode.op == op)


def of_class(kind: str) -> tuple[FailureMode, ...]:
    """Return the failure modes of one class; empty if it has none."""
    return tuple(mode for mode in modes() if mode.kind == kind)


def find(name: str) -> FailureMode:
    """Return the failure mode of that name.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    names = {mode.name: mode for mode in modes()}
    if name not in names:
        raise UsageError(f"failure mode is {name!r}, but must be known{nearest(name, names)}")
    return names[name]


def find_class(name: str) -> FailureClass:
    """Return the class of that id; ``k13`` will do.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    ids = {found.id: found for found in classes()}
    if name.upper() not in ids:
        raise UsageError(f"class is {name!r}, but must be known{nearest(name.upper(), ids)}")
    return ids[name.upper()]
