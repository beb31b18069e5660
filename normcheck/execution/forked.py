"""Calls in a forked child, so that a target that dies leaves a word about where.

A child tells its parent what it is about to do, line by line through a pipe; when it ends by a
signal, or ends at all before it is done, the last line says in what. It never returns into the
parent's ordinary course: it always leaves by ``os._exit``.

Forking is safe while no other thread holds a lock that the child needs, or hands out work that it
waits for. normcheck's own thread does neither, and the child runs on one thread of torch. XLA
starts threads that Python does not see, so JAX targets must not be called in a forked child.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from normcheck.execution.watchdog import THREAD

__all__ = ["Ending", "forked", "unavailable"]

_DONE = "\x04"
# normcheck's own, and one that looks at progress bars, which torch.compile starts.
_HARMLESS = (THREAD, "tqdm_monitor")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    Attributes:
        told: Lines that it told, in order.
        finished: Whether it came to the end of its work.
        how: How it ended if it did not, to follow "it": ``ended the process with signal 11
            (SIGSEGV)``.
    """

    told: tuple[str, ...]
    finished: bool
    how: str = ""


def unavailable(device_type: str, bystanders: Collection[threading.Thread] = ()) -> str:
    """Return why no child can be forked here, "" if one can.

    Args:
        device_type: Where the target's tensors live: an accelerator does not survive a fork.
        bystanders: Threads that have nothing to do with the target.
    """
    if not hasattr(os, "fork"):
        return "this system cannot fork"
    if device_type != "cpu":
        return f"a forked child cannot use the device {device_type}"
    if multiprocessing.active_children():
        return "worker processes run, whose locks a forked child would share"
    for thread in threading.enumerate():
        own = thread is not threading.main_thread() and thread not in bystanders
        if own and thread.name not in _HARMLESS:
            return f"the target's thread {thread.name!r} runs, and no child can take its work over"
    return ""


def forked(work: Callable[[Callable[[str], None]], None], limit_s: float) -> Ending:
    """Do some work in a child.

    Args:
        work: Called in the child with a function that tells the parent a line. What it raises ends
            the child and is part of `Ending.how`.
        limit_s: Seconds that may pass between two lines before the child is killed.

    Raises:
        ValueError: ``limit_s`` is not positive.
    """
    if not limit_s > 0.0:
        raise ValueError(f"limit_s is {limit_s}, but must be greater than 0")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads that it sees at a fork; the module says why this one is safe.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(work, writer)
    os.close(writer)
    ended = False
    try:
        told, in_time = _listened(reader, limit_s)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        ended = True
    finally:
        os.close(reader)
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    finished = bool(told) and told[-1] == _DONE
    lines = tuple(told[:-1] if finished else told)
    if finished:
        return Ending(lines, finished=True)
    how = _ending(status) if in_time else f"did not return within {limit_s:g} s"
    return Ending(lines, finished=False, how=how)


def _child(work: Callable[[Callable[[str], None]], None], writer: int) -> None:
    """Work, and leave without a trace of the parent's cleanup."""
    status = 1
    try:
        # What dies prints, wherever a fault handler was told to; the parent says it in its words.
        faulthandler.disable()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        torch.set_num_threads(1)

        def tell(line: str) -> None:
            _written(writer, line)

        work(tell)
        tell(_DONE)
        status = 0
    except BaseException as error:  # nothing may pass into the parent's stack
        with contextlib.suppress(BaseException):
            _written(writer, f"{type(error).__name__}: {error}")
    finally:
        os._exit(status)


def _written(writer: int, line: str) -> None:
    """Write one line, however large."""
    left = line.replace("\n", " ").encode("utf-8", "replace") + b"\n"
    while left:
        left = left[os.write(writer, left) :]


def _listened(reader: int, limit_s: float) -> tuple[list[str], bool]:
    """Read lines until the child closes the pipe, or is silent for too long."""
    received, deadline = bytearray(), time.monotonic() + limit_s
    while True:
        left = deadline - time.monotonic()
        if left <= 0.0 or not select.select([reader], [], [], left)[0]:
            return _lines(received), False
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return _lines(received), True
        received += chunk
        deadline = time.monotonic() + limit_s


def _lines(received: bytearray) -> list[str]:
    return [line for line in received.decode("utf-8", "replace").split("\n") if line]


def _ending(status: int) -> str:
    """Say in words how a child ended that was not done."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = f" ({signal.Signals(number).name})"
        except ValueError:
            name = ""  # a real-time signal
        return f"ended the process with signal {number}{name}"
    return f"ended the process with status {os.waitstatus_to_exitcode(status)}"
