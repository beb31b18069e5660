"""All properties by name. A file of this folder with a ``PROPERTY`` is one."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from normcheck.errors import UsageError, nearest
from normcheck.properties.property import Property

__all__ = ["find", "names"]

_NOT_PROPERTIES = {
    "property",
    "registry",
    "trial",
    "strategies",
    "outcomes",
    "probing",
    "other_inputs",
}


# What one or two plain calls tell comes first: with --fail-fast the rest is not waited for.
_FIRST = (
    "forward_accuracy",
    "gradients",
    "output_contract",
    "inputs_unchanged",
    "running_statistics",
    "nonfinite_containment",
    "forward_determinism",
)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all properties in the order of a run, without importing torch."""
    files = Path(__file__).resolve().parent.glob("*.py")
    found = {path.stem for path in files if path.stem not in _NOT_PROPERTIES}
    return (*_FIRST, *sorted(found - set(_FIRST)))


def find(name: str) -> Property:
    """Return the property of that name.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    if name not in names():
        raise UsageError(f"property is {name!r}, but must be known{nearest(name, names())}")
    found: Property = importlib.import_module(f"normcheck.properties.{name}").PROPERTY
    return found
