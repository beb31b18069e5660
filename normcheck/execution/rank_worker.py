"""One rank: a process that calls the target on its shard when it is told to.

Started by `ranks` as ``python -m normcheck.execution.rank_worker``. Orders come in on standard
input, answers leave on what was standard output, both as pickles behind their length. The process
ends when standard input does, even in the middle of a collective that will never complete.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import threading
from dataclasses import dataclass, replace
from typing import BinaryIO

import torch
import torch.distributed as dist
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.errors import TargetError
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter, FunctionAdapter
from normcheck.targets.target import load

__all__ = [
    "HALVES",
    "PARAMETERS",
    "Order",
    "Start",
    "Subject",
    "read_frame",
    "shard_of",
    "write_frame",
]

_LENGTH = struct.Struct("<Q")
HALVES = (torch.float16, torch.bfloat16)
_FOREVER_S = 1e6
PARAMETERS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Start:
    """What a rank is told first.

    Attributes:
        rank: Which one it is.
        world: How many there are.
        port: Where rank 0 keeps the store; 0 for rank 0, which answers with the port.
    """

    rank: int
    world: int
    port: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A target, in words that mean the same in another process.

    Attributes:
        text: What the user called it.
        op: Name of the op that it is judged as.
        policy: The declared conventions.
        fixed: Parameters that the user set.
        framework: Whose arrays it takes.
    """

    text: str
    op: str
    policy: Policy
    fixed: tuple[tuple[str, object], ...]
    framework: str

    @classmethod
    def of(cls, adapter: Adapter, policy: Policy) -> Subject:
        """Describe a bound target."""
        framework = adapter.framework.name if isinstance(adapter, FunctionAdapter) else "auto"
        fixed = tuple(adapter.binding.fixed.items())
        return cls(adapter.text, adapter.op.name, policy, fixed, framework)


@dataclass(frozen=True, slots=True)
class Order:
    """One call.

    Attributes:
        subject: Of what.
        inputs: The whole batch.
        way: How the call is made.
        begin: First sample of this rank's shard.
        end: The one after its last.
    """

    subject: Subject
    inputs: Inputs
    way: Way
    begin: int
    end: int


def write_frame(stream: BinaryIO, item: object) -> None:
    """Write one object.

    Raises:
        OSError: The other end is gone.
    """
    data = pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: BinaryIO) -> object:
    """Read one object.

    Raises:
        EOFError: The other end is gone.
    """
    head = stream.read(_LENGTH.size)
    data = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    item: object = pickle.loads(data)
    return item


def shard_of(order: Order) -> Inputs:
    """Cut a rank's shard out of a batch.

    Parameters and buffers in half precision become float32, as mixed-precision training has them:
    the local sums of dweight and dbias would else be rounded on every rank, and their total could
    not be judged.
    """
    inputs, size = order.inputs, order.end - order.begin

    def cut(tensor: Tensor) -> Tensor:
        return tensor.narrow(0, order.begin, size)

    tensors = {n: t if n in PARAMETERS else cut(t) for n, t in inputs.tensors.items()}
    halves = {n: t for n, t in tensors.items() if n in PARAMETERS and t.dtype in HALVES}
    tensors |= {name: tensor.float() for name, tensor in halves.items()}
    dy = {name: cut(t) for name, t in inputs.dy.items()}
    return replace(inputs, tensors=tensors, dy=dy)


def _orders(stream: BinaryIO) -> queue.Queue[object]:
    """Read orders in a thread, which ends the process when there are no more."""
    found: queue.Queue[object] = queue.Queue()

    def read() -> None:
        while True:
            try:
                found.put(read_frame(stream))
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return found


def _join(start: Start, answers: BinaryIO) -> None:
    """Join the other ranks."""
    store = dist.TCPStore(  # type: ignore[attr-defined]  # exported, but not in so many words
        "127.0.0.1", start.port, start.world, start.rank == 0, wait_for_workers=False
    )
    if start.rank == 0:
        write_frame(answers, store.port)
    dist.init_process_group("gloo", store=store, rank=start.rank, world_size=start.world)
    write_frame(answers, start.rank)


def _executor(subject: Subject) -> InProcess:
    """Import and bind a target.

    Raises:
        TargetError: It cannot be.
    """
    op, fixed = catalogue.find(subject.op), dict(subject.fixed)
    adapter = load(subject.text, op, subject.policy, fixed=fixed, framework=subject.framework)
    # The process that gives the orders keeps the time: it sees the other ranks too.
    return InProcess(adapter, torch.device("cpu"), subject.policy, Watchdog(_FOREVER_S))


def _serve(orders: queue.Queue[object], answers: BinaryIO) -> None:
    """Answer every order with an observation, or with the message of a target's own error."""
    start = orders.get()
    assert isinstance(start, Start), "a rank is told first who it is"
    # Ranks share the processor.
    torch.set_num_threads(1)
    _join(start, answers)
    executors: dict[bytes, InProcess] = {}
    while True:
        order = orders.get()
        assert isinstance(order, Order), "after the first, every order is a call"
        key = pickle.dumps(order.subject)
        try:
            if key not in executors:
                executors[key] = _executor(order.subject)
        except TargetError as error:
            write_frame(answers, str(error))
            continue
        write_frame(answers, executors[key].call(shard_of(order), order.way))


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a target or a library prints must not end up among the answers.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    orders = _orders(os.fdopen(os.dup(0), "rb"))
    _serve(orders, answers)
    os._exit(0)


if __name__ == "__main__":
    # As its own module: what is unpickled is of the classes there, not of those of __main__.
    from normcheck.execution import rank_worker

    rank_worker.main()
