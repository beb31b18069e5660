"""One process per implementation: what crashes or hangs is listed, and the survey goes on."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "Order", "run", "usable"]

_GRACE_S = 5.0
_MOST_TEXT = 300
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")


@dataclass(frozen=True, slots=True)
class Order:
    """What to run.

    Attributes:
        words: After ``python``.
        variables: Added to the environment.
        limit_s: Most seconds.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]
    limit_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Exit status; negative for a signal.
        timed_out: Whether it was ended for running too long.
        said: Last line on stderr.
        elapsed_s: Seconds.
    """

    status: int
    timed_out: bool
    said: str
    elapsed_s: float


def run(order: Order, log: Path) -> Ended:
    """Run Python with an order's words to its end, at most for its limit.

    Args:
        order: What to run.
        log: Where what it says goes; nothing is read from a pipe that a child could hold open.
    """
    started = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *order.words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, **order.variables},
        )
        try:
            status, timed_out = process.wait(order.limit_s), False
        except subprocess.TimeoutExpired:
            status, timed_out = _end(process), True
        except BaseException:
            _end(process)
            raise
    elapsed = time.monotonic() - started
    return Ended(status, timed_out, _last_line(log), round(elapsed, 1))


def usable(module: str, function: str, variables: Mapping[str, str], limit_s: float) -> str:
    """Call an adaptor's ``prepare`` in its own process; return why it fails, "" if it works."""
    import tempfile

    code = f"from {module} import {function}; {function}()"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        ended = run(Order(("-c", code), variables, limit_s), log)
    if ended.timed_out:
        return f"{shlex.quote(code)} did not end within {limit_s:g} s"
    if ended.status:
        return ended.said or f"{shlex.quote(code)} ended with status {ended.status}"
    return ""


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process and the child that `normcheck run` works in, which has a group of its own."""
    children = _children(process.pid)
    process.send_signal(signal.SIGTERM)  # is passed on
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for child in children:
        try:
            os.killpg(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended with its parent, or leads no group
    return process.wait()


def _children(pid: int) -> list[int]:
    """Return the child processes of a process; empty where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    # An exception's message may have several lines; its first one names it.
    named = [line for line in lines if _EXCEPTION.match(line)]
    return (named or lines)[-1].strip()[:_MOST_TEXT] if lines else ""
