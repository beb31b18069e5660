"""Keeping stdout for the result: what a target prints goes to stderr, at the file descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["stdout_to_stderr"]


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send everything written to stdout to stderr, also by C code and subprocesses."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        if not sys.stdout.closed:
            sys.stdout.flush()
        os.dup2(saved, 1)
        if sys.stdout.closed:  # by the target
            sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        os.close(saved)
