"""Processes that are the ranks: started together, asked together, ended together."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable
from typing import BinaryIO

from normcheck.errors import TargetError
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.rank_worker import Order, Start, read_frame, write_frame

__all__ = ["RankPool", "RanksDiedError", "close_pool", "pool"]

# Importing torch, on a busy machine.
_START_S = 120.0
# How long ranks may wait for one that has raised: collectives on one machine take milliseconds.
_GRACE_S = 5.0


class RanksDiedError(Exception):
    """A rank ended or does not answer; the pool is of no more use.

    Attributes:
        trouble: Which of the two.
        text: To follow "the target".
    """

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.trouble, self.text = trouble, text


class RankPool:
    """A group of ranks that can all be called.

    Attributes:
        processes: One per rank.

    Raises:
        TargetError: They cannot be started.
    """

    def __init__(self, world: int) -> None:
        self.processes = [_started() for _ in range(world)]
        self._end = weakref.finalize(self, _end, self.processes, os.getpid())
        try:
            self._join(world)
        except (RanksDiedError, OSError) as error:
            self.close()
            raise TargetError(f"the {world} ranks cannot be started: one {error}") from error

    def _join(self, world: int) -> None:
        """Make the processes one group; the first of them keeps its store."""
        write_frame(self._in(0), Start(0, world, 0))
        (port,) = self._answers(_START_S, ranks=[0])
        for rank in range(1, world):
            write_frame(self._in(rank), Start(rank, world, int(str(port))))
        self._answers(_START_S)

    def _in(self, rank: int) -> BinaryIO:
        stream = self.processes[rank].stdin
        assert stream is not None, "standard input is a pipe"
        return stream  # type: ignore[return-value]  # of bytes

    def call(self, orders: list[Order], limit_s: float) -> list[Observation]:
        """Call the target on every rank.

        Args:
            orders: One per rank.
            limit_s: Seconds granted.

        Returns:
            What each rank observed.

        Raises:
            RanksDiedError: A rank ended, or did not answer in time.
            TargetError: The target cannot be imported in another process.
        """
        for rank, order in enumerate(orders):
            # A rank that is gone is seen where its answer is awaited.
            with contextlib.suppress(OSError):
                write_frame(self._in(rank), order)
        answers = self._answers(limit_s)
        found = [answer for answer in answers if isinstance(answer, Observation)]
        if len(found) < len(answers):
            text = orders[0].subject.text
            told = next(answer for answer in answers if not isinstance(answer, Observation))
            raise TargetError(
                f"{text} is called in processes of its own, where it cannot be loaded: {told}; "
                "name it as FILE.py:NAME"
            )
        return found

    def _answers(self, limit_s: float, ranks: Iterable[int] = ()) -> list[object]:
        """Wait for one answer of every rank."""
        found: dict[int, object] = {}
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as waiting:
            for rank in ranks or range(len(self.processes)):
                waiting.register(self._out(rank), selectors.EVENT_READ, rank)
            while waiting.get_map():
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    silent = sorted(key.data for key in waiting.get_map().values())
                    raise RanksDiedError(Trouble.HUNG, _silence(silent, found, limit_s))
                for key, _ in ready:
                    rank = key.data
                    try:
                        found[rank] = read_frame(self._out(rank))
                    except EOFError:
                        raise RanksDiedError(Trouble.EXITED, self._ending(rank)) from None
                    waiting.unregister(key.fileobj)
                    if _complaint(found[rank]):
                        deadline = min(deadline, time.monotonic() + _GRACE_S)
        return [found[rank] for rank in sorted(found)]

    def _out(self, rank: int) -> BinaryIO:
        stream = self.processes[rank].stdout
        assert stream is not None, "standard output is a pipe"
        return stream  # type: ignore[return-value]  # of bytes

    def _ending(self, rank: int) -> str:
        """Say how a rank ended."""
        try:
            status = self.processes[rank].wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return f"closed the pipe of rank {rank}"
        if status < 0:
            return f"ended the process of rank {rank} with {signal.Signals(-status).name}"
        return f"ended the process of rank {rank} with exit status {status}"

    def close(self) -> None:
        """End all ranks."""
        self._end()


_POOLS: dict[int, RankPool] = {}


def pool(world: int) -> RankPool:
    """Return this process's ranks: they are started once, whatever they call.

    A forked child gets ranks of its own: it must not speak to those of its parent.
    """
    own = os.getpid()
    if own not in _POOLS:
        _POOLS[own] = RankPool(world)
    return _POOLS[own]


def close_pool() -> None:
    """End this process's ranks; they are started anew where they are needed again."""
    found = _POOLS.pop(os.getpid(), None)
    if found is not None:
        found.close()


def _complaint(answer: object) -> str:
    """Return what a rank says that will not go on; "" if it went well."""
    if isinstance(answer, Observation) and answer.raised is not None:
        return answer.raised.text
    return answer if isinstance(answer, str) else ""


def _silence(silent: list[int], found: dict[int, object], limit_s: float) -> str:
    """Say who does not answer, and which rank's exception that is the fault of."""
    ranks = " and ".join(f"rank {rank}" for rank in silent)
    told = [(r, text) for r, answer in sorted(found.items()) if (text := _complaint(answer))]
    if told:
        rank, text = told[0]
        return f"never returned on {ranks}: rank {rank}, which they wait for, raised {text}"
    return f"did not return within {limit_s:g} s on {ranks}"


def _started() -> subprocess.Popen[bytes]:
    places = [place for place in sys.path if place]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    # The name of a host need not lead anywhere; the loopback does.
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return subprocess.Popen(
        [sys.executable, "-m", "normcheck.execution.rank_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _end(processes: list[subprocess.Popen[bytes]], owner: int) -> None:
    """End what this process started: a rank whose input ends leaves by itself."""
    if os.getpid() != owner:
        return
    for process in processes:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    for process in processes:
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
