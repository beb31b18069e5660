"""What an implementation is timed beside: torch's own function, as it is and compiled."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from normcheck.errors import TargetError
from normcheck.targets.torch_functions import name_of

__all__ = ["COMPILED", "EAGER", "forget", "rivals"]

EAGER, COMPILED = "torch", "compiled"


def rivals(op: str) -> Mapping[str, Callable[[], Callable[..., Any]]]:
    """Return per name what makes the function; nothing where torch has none.

    What makes the compiled one raises TargetError where torch.compile does not work.
    """
    name = name_of(op)
    if not name:
        return {}
    function = getattr(torch.nn.functional, name)
    return {EAGER: lambda: function, COMPILED: lambda: _compiled(function)}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the shapes that it is called with."""
    try:
        # What torch warns of on the way concerns torch.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(torch.neg, fullgraph=True)(torch.ones(2))
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        why = f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
        raise TargetError(f"torch.compile does not work here: {why}") from error
    # Past its limit of variants torch.compile would silently run the function as it is.
    made: Any = torch.compile(function, dynamic=False, fullgraph=True)
    # torch.compile hides the signature, which tells how it is called.
    made.__signature__ = inspect.signature(function)
    return made  # type: ignore[no-any-return]


def forget() -> None:
    """Forget what was compiled for other shapes, so that no limit of variants is reached."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
