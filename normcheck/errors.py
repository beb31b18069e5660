"""Errors that reach a user, each with the exit status of the command line.

NormcheckError
├── UsageError         2   an option, a case id or an argument is wrong
├── TargetError        4   the target cannot be found, imported, bound or called: not judged
└── NothingToRunError  5   the selection is empty, or a required device is absent
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["NormcheckError", "NothingToRunError", "TargetError", "UsageError", "nearest"]


class NormcheckError(Exception):
    """Base of all errors whose text is meant for the user."""

    exit_status = 3


class UsageError(NormcheckError):
    """The call is wrong; the message names the value, the rule and the nearest valid value."""

    exit_status = 2


class TargetError(NormcheckError):
    """The target cannot be judged; the message says what to change."""

    exit_status = 4


class NothingToRunError(NormcheckError):
    """Nothing was selected to run."""

    exit_status = 5


def nearest(value: str, valid: Iterable[str]) -> str:
    """Return "; did you mean X?" or, without a near match, "; valid: ..."."""
    choices = list(valid)
    if not choices:
        return ""
    close = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; valid: {', '.join(choices)}"
