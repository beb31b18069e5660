"""A time limit for calls into foreign code that runs in this process.

A call that loops in Python is interrupted by a signal and becomes a finding. A call that never
gives control back to the interpreter cannot be: then, after a grace period, a thread reports it
and ends the process. Only an isolated worker can do better.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TargetHungError", "Watchdog"]


class TargetHungError(BaseException):
    """Raised inside a call that exceeds its limit; no ``except Exception`` of a target stops it."""


class Watchdog:
    """Limits calls to ``limit_s`` seconds.

    Attributes:
        limit_s: Seconds granted to one call.
        abandon: Called from a thread when a call ignores the interruption for as long again. It
            must not return into the process's ordinary course.
        noted: Called with the case's id, and what it is judged for, before each call.
        doing: What it is judged for.
    """

    def __init__(
        self,
        limit_s: float,
        abandon: Callable[[str], None] | None = None,
        noted: Callable[[str, str], None] | None = None,
    ) -> None:
        self.limit_s = limit_s
        self.abandon = abandon
        self.noted = noted
        self.doing = ""

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Limit the body.

        Args:
            what: The case's id, handed to ``abandon``.

        Raises:
            TargetHungError: The body took too long.
        """
        if self.noted is not None:
            self.noted(what, self.doing)
        hard = None
        if self.abandon is not None:
            hard = threading.Timer(2 * self.limit_s, self.abandon, [what])
            hard.daemon = True
            hard.start()
        in_main = threading.current_thread() is threading.main_thread()
        before = None
        if in_main:
            before = signal.signal(signal.SIGALRM, self._interrupt)
            signal.setitimer(signal.ITIMER_REAL, self.limit_s)
        try:
            yield
        finally:
            if in_main:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)
            if hard is not None:
                hard.cancel()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        raise TargetHungError
