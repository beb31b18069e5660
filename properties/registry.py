"""All properties by name. A file of this folder with a ``PROPERTY`` is one."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from normcheck.errors import UsageError, nearest
from normcheck.properties.property import Property

__all__ = ["find", "is_plain", "names"]

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


# They judge the same calls, element by element or slice by slice.
_PLAIN = {*_FIRST, "implied_statistics", "gradient_identities"}


def is_plain(name: str) -> bool:
    """Return whether a property judges plain calls, and makes none in another way."""
    return name in _PLAIN


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
