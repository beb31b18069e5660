"""A run in a child process, so that a target that ends its process does not end in silence.

The parent has not imported torch and runs no thread, so that forking is safe. It waits, passes on
interrupts, and knows from a shared page whether the child finished its work and which case it was
on. This is no sandbox: the target still shares a process with the judge.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["Page", "in_child"]

_SIZE = 4096


class Page:
    """One page of memory that parent and child share: a flag, a case and what it is judged for."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def finish(self) -> None:
        """Say that the work ended in a way that normcheck knows of."""
        self._memory[0] = 1

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        return self._memory[0] == 1

    def note(self, case: str, prop: str = "") -> None:
        """Write down the case that is about to be judged, and the property."""
        text = f"{case} {prop}".encode()[: _SIZE - 2]
        self._memory[1 : len(text) + 2] = text + b"\0"

    @property
    def noted(self) -> tuple[str, str]:
        """The case and the property that were noted last."""
        text = self._memory[1:_SIZE].partition(b"\0")[0].decode(errors="replace")
        case, _, prop = text.partition(" ")
        return case, prop


def in_child(work: Callable[[Page], int], died: Callable[[str, str, str], int]) -> int:
    """Do some work in a child process.

    Args:
        work: Returns the exit status, or raises; both happen in the child.
        died: Called in the parent with the last case, the property and how the child ended, if it
            ended without finishing its work; returns the exit status. It may start another child.

    Returns:
        In the child, what ``work`` returned. In the parent, what ``died`` returned; a child that
        finished ends the parent with the child's exit status.
    """
    page = Page()
    if not hasattr(os, "fork"):
        return work(page)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # Of a group of its own, so that Ctrl-C reaches it once, through the parent.
        os.setpgid(0, 0)
        # A shell that starts us in the background has it ignored, and that would be inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return work(page)
        finally:
            page.finish()
    status = _wait(child)
    if page.finished:
        sys.exit(status)
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    return died(*page.noted, how)


def _wait(child: int) -> int:
    """Wait for the child, passing signals on, and return its exit status; negative for a signal."""

    def forward(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            return  # it has just ended by itself

    before = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    _, status = os.waitpid(child, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    return os.waitstatus_to_exitcode(status)
