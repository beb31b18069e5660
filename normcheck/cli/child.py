"""Parts of a run in child processes, so that a target that ends its process does not end the run.

The parent has not imported torch and runs no thread, so that forking is safe. It passes interrupts
on, hears what happens through a pipe, and knows from a shared page whether a child finished its
work and which case it was on. This is no sandbox: the target shares a process with the judge.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Pipe, wait
from types import FrameType

__all__ = ["Child", "Page", "messages", "stopping"]

_SIZE = 4096
# A process that a target leaves behind may hold the pipe open: its end is no sign of the child's.
_LOOK_S = 0.2
_SOON_S = 0.01


class Page:
    """One page of memory that parent and child share: a flag, a case and what it is judged for."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def finish(self) -> None:
        """Say that the work ended in a way that normcheck knows of."""
        self._memory[0] = 1

    def give_up(self) -> None:
        """Say that a call did not return, and could not be interrupted."""
        self._memory[0] = 2

    @property
    def hung(self) -> bool:
        """Whether `give_up` was called."""
        return self._memory[0] == 2

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


class Child:
    """A process at work.

    Attributes:
        part: The dtypes that it judges.
        page: What it was doing when it ended.
        pipe: The end that messages come out of.
        status: Its exit status once it has ended, negative for a signal; None before.
    """

    def __init__(
        self, part: tuple[str, ...], work: Callable[[Page, Callable[[object], None]], None]
    ) -> None:
        """Fork; in the child, do the work, which is given a way to send messages, and end."""
        self.part, self.page = part, Page()
        self.status: int | None = None
        self.pipe, sending = Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid:
            sending.close()
            return
        # Of a group of its own, so that Ctrl-C reaches it once, through the parent.
        os.setpgid(0, 0)
        for number in _ending():
            signal.signal(number, signal.SIG_DFL)
        # A shell that starts us in the background has it ignored, and that would be inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # The stack below is the parent's own: nothing may unwind it here.
        try:
            work(self.page, sending.send)
            self.page.finish()
        finally:
            os._exit(0 if self.page.finished else 1)

    @property
    def how(self) -> str:
        """How it ended, to follow "the target"."""
        assert self.status is not None, "asked of a child that has ended"
        if self.status >= 0:
            return f"ended the process (exit status {self.status})"
        return f"ended the process ({signal.Signals(-self.status).name})"

    def received(self) -> Iterator[object]:
        """Yield the messages that have come in, and close the pipe behind the last one."""
        while not self.pipe.closed and self.pipe.poll():
            try:
                yield self.pipe.recv()
            except (EOFError, OSError):  # an OSError if it died in the middle of a message
                self.pipe.close()

    def reap(self) -> bool:
        """Return whether it has ended, and take its exit status."""
        if self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self._pid, number)

    def stop(self) -> None:
        """End it, whatever it does."""
        self.send_signal(signal.SIGKILL)
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _ending() -> list[int]:
    """Return the signals that end a run; what nohup ignores stays ignored."""
    given = (signal.SIGTERM, signal.SIGHUP)
    return [number for number in given if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def stopping(children: Sequence[Child]) -> Iterator[None]:
    """Pass interrupts on to children, and leave none of them behind."""

    def forward(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in _ending()}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, forward)
    try:
        yield
    finally:
        for child in children:
            child.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def messages(children: list[Child]) -> Iterator[tuple[Child, object]]:
    """Yield what children send, and None of one that has ended, until all have.

    Args:
        children: Those at work; more may be added while this is read.
    """
    over: list[Child] = []
    while working := [child for child in children if child not in over]:
        open_ = [child.pipe for child in working if not child.pipe.closed]
        wait(open_, _LOOK_S if len(open_) == len(working) else _SOON_S)
        for child in working:
            ended = child.reap()
            yield from ((child, message) for message in child.received())
            if ended:
                over.append(child)
                yield child, None
