"""All libraries that a survey knows: the files of ``adaptors/``."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from normcheck.errors import UsageError, nearest
from normcheck.survey.subject import Library

__all__ = ["find", "module_of", "names", "versions"]

_FOLDER = Path(__file__).parent / "adaptors"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all adaptor files; torch's own first, then by name."""
    found = [path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__"]
    return tuple(sorted(found, key=lambda name: (not name.startswith("torch_"), name)))


def module_of(name: str) -> str:
    """Return the module of an adaptor file."""
    return f"normcheck.survey.adaptors.{name}"


def find(name: str) -> Library:
    """Return the library of that adaptor file.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    if name not in names():
        raise UsageError(
            f"library is {name!r}, but must be an adaptor of the survey{nearest(name, names())}"
        )
    library: Library = importlib.import_module(module_of(name)).LIBRARY
    return library


def versions(library: Library) -> tuple[dict[str, str], list[str]]:
    """Return the versions of what a library consists of, and what is not installed."""
    installed: dict[str, str] = {}
    missing = []
    for distribution in library.distributions:
        try:
            installed[distribution] = version(distribution)
        except PackageNotFoundError:
            missing.append(distribution)
    return installed, missing
