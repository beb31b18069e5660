"""All ops by name. An op is a file of this folder with an ``OP``; adding the file adds the op."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.errors import UsageError, nearest

if TYPE_CHECKING:
    from normcheck.ops.op import Op

__all__ = ["find", "names"]

_NOT_OPS = {"__init__", "catalogue", "op", "pairs", "rows"}


@cache
def names() -> tuple[str, ...]:
    """Return the names of all ops, without importing torch."""
    return tuple(
        sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in _NOT_OPS)
    )


def find(name: str) -> Op:
    """Return the op of that name.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    if name not in names():
        raise UsageError(
            f"op is {name!r}, but must be an op of the catalogue{nearest(name, names())}"
        )
    op: Op = importlib.import_module(f"normcheck.ops.{name}").OP
    return op


def guess(target: str) -> str:
    """Return the op that a target's own name ends in or contains, the longest first.

    Raises:
        UsageError: No op's name is part of it.
    """
    flat = target.rsplit(":", 1)[-1].rsplit(".", 1)[-1].lower().replace("_", "")
    found = [name for name in names() if name.replace("_", "") in flat]
    if not found:
        raise UsageError(
            f"the op of {target} cannot be told from its name: add --op {{{','.join(names())}}}"
        )
    return max(found, key=len)
