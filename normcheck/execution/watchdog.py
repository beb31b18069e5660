"""A time limit for calls into foreign code that runs in this process.

A call that loops in Python is interrupted by a signal and becomes a finding. A call that never
gives control back to the interpreter cannot be: then, after a grace period, a thread reports it
and ends the process. Only an isolated worker can do better.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

__all__ = ["THREAD", "TargetHungError", "Watchdog"]

THREAD = "normcheck watchdog"


_LOOK_S = 0.5


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
        case: Id of the case that is judged, where calls on variations of it are made for its sake;
            empty where each stands for itself.
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
        self.doing = self.case = ""
        self._due: dict[object, tuple[float, str]] = {}
        self._looking = False

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Limit the body.

        Args:
            what: The case's id, handed to ``abandon``.

        Raises:
            TargetHungError: The body took too long.
        """
        if self.noted is not None:
            self.noted(self.case or what, self.doing)
        # Calls of several threads overlap, and end in any order.
        call = object()
        if self.abandon is not None:
            self._due[call] = time.monotonic() + 2 * self.limit_s, what
            self._look()
        in_main = threading.current_thread() is threading.main_thread()
        try:
            # Windows has no such timer: there a loop is not interrupted.
            with self._timed() if in_main and hasattr(signal, "setitimer") else nullcontext():
                yield
        finally:
            self._due.pop(call, None)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Set the timer, and give it back: another's, such as pytest-timeout's, goes on."""
        started = time.monotonic()
        before = signal.signal(signal.SIGALRM, self._interrupt)
        left = signal.setitimer(signal.ITIMER_REAL, self.limit_s)[0]
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
            if left:
                rest = left - (time.monotonic() - started)
                signal.setitimer(signal.ITIMER_REAL, max(rest, 1e-3))

    def _look(self) -> None:
        """Start the thread that looks, once: one per call would cost more than most calls do."""
        if not self._looking:
            self._looking = True
            look = threading.Thread(target=self._abandon_what_is_due, name=THREAD, daemon=True)
            look.start()

    def _abandon_what_is_due(self) -> None:
        assert self.abandon is not None, "nobody looks otherwise"
        while True:
            time.sleep(min(_LOOK_S, self.limit_s / 4))
            now = time.monotonic()
            late = [what for due, what in list(self._due.values()) if now > due]
            if late:
                self.abandon(late[0])
                return

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        raise TargetHungError
