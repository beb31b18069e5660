"""Calls a target on three ranks at once, each with its shard of the batch.

The ranks are processes that live as long as the executor. What they return is put together into
the observation of one call on the whole batch, which everything else judges like any other.
"""

from __future__ import annotations

import threading
import time

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Raised, Trouble
from normcheck.execution.rank_pool import RanksDiedError, close_pool, pool
from normcheck.execution.rank_worker import HALVES, PARAMETERS, Order, Subject
from normcheck.execution.session import Session
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter
from normcheck.targets.module import ModuleAdapter

__all__ = ["OP_ON_RANKS", "WORLD", "Ranks", "shards"]

OP_ON_RANKS = "sync_batch_norm"
WORLD = 3


def shards(samples: int, seed: int) -> tuple[int, ...]:
    """Cut a batch into shards of unequal sizes, empty ones among them.

    Args:
        samples: Size of the batch.
        seed: Chooses one of four ways: one sample, seven, and the rest; an empty shard on the
            middle, the first or the last rank.

    Returns:
        Samples per rank.
    """
    one = min(1, samples)
    rest = samples - one
    match seed % 4:
        case 0:
            seven = min(7, rest)
            return one, seven, rest - seven
        case 1:
            return rest, 0, one
        case 2:
            third = samples // 3
            return 0, third, samples - third
    half = rest // 2
    return half, rest - half + one, 0


class Ranks(InProcess):
    """The executor for `OP_ON_RANKS`: the target is imported and called in processes of their own.

    Way and answer of a call are as in process. There are no sessions: nothing of a call stays here.
    """

    def __init__(
        self, adapter: Adapter, device: torch.device, policy: Policy, watchdog: Watchdog
    ) -> None:
        super().__init__(adapter, device, policy, watchdog)
        self._own = adapter

    def call(self, inputs: Inputs, way: Way) -> Observation:
        """Call once on every rank and put the answers together."""
        refusal = self._refusal(inputs, way)
        if refusal:
            return Observation(raised=Raised(Trouble.REFUSED, refusal))
        if self.watchdog.noted is not None:
            self.watchdog.noted(self.watchdog.case or inputs.case.id, self.watchdog.doing)
        subject = Subject.of(self._own, self.policy)
        samples, orders, begin = inputs.tensors["x"].shape[0], [], 0
        for size in shards(samples, inputs.case.seed):
            orders.append(Order(subject, inputs, way, begin, begin + size))
            begin += size
        started = time.perf_counter()
        try:
            found = pool(WORLD).call(orders, self.watchdog.limit_s)
        except RanksDiedError as error:
            close_pool()
            return Observation(raised=Raised(error.trouble, error.text))
        self.stopwatch.target_s += time.perf_counter() - started
        return _merged(inputs, orders, found)

    def session(self, inputs: Inputs, way: Way) -> Session:
        """Return a session that refuses every call."""
        return _NoSession(self, inputs, way)

    def _refusal(self, inputs: Inputs, way: Way) -> str:
        """Say why a call cannot be made on ranks; "" where it can."""
        if self.device.type != "cpu":
            return f"{OP_ON_RANKS} is judged on the CPU, not on {self.device.type}"
        if self.adapter is not self._own:
            return f"{OP_ON_RANKS} runs in other processes, which know the plain target only"
        if threading.current_thread() is not threading.main_thread():
            return "two collectives at once on one rank wait for each other"
        dtype = inputs.tensors["x"].dtype
        if any(inputs.tensors[n].dtype != dtype for n in PARAMETERS if n in inputs.tensors):
            return "on ranks parameters have the format of x, or float32 beside half precision"
        if way.arranged:
            return "on ranks tensors lie in memory as the case says"
        if isinstance(self.adapter, ModuleAdapter) and dtype in HALVES:
            return "a module in half precision rounds the local sums of its parameters' gradients"
        return ""


class _NoSession(Session):
    """Several calls on the same tensors: not on ranks."""

    def run(self) -> Observation:
        """Refuse."""
        text = f"{OP_ON_RANKS} runs in other processes: nothing of a call stays here"
        return Observation(raised=Raised(Trouble.REFUSED, text))

    forward = backward = run


def _merged(inputs: Inputs, orders: list[Order], found: list[Observation]) -> Observation:
    """Put what the ranks observed together into one observation of the whole batch."""
    raised = _raised(found)
    elapsed = max(observed.elapsed_s for observed in found)
    mutated = tuple(dict.fromkeys(n for observed in found for n in observed.mutated))
    try:
        outputs = {
            name: _whole(name, [observed.outputs[name] for observed in found], orders)
            for name in found[0].outputs
            if all(name in observed.outputs for observed in found)
        }
        gradients = _gradients(inputs, orders, found) if raised is None else {}
    except _UnevenError as error:
        raised, outputs, gradients = Raised(Trouble.UNEXPECTED, str(error)), {}, {}
    return Observation(
        outputs=outputs,
        gradients=gradients,
        state={name: _farthest([o.state[name] for o in found]) for name in found[0].state},
        mutated=mutated,
        raised=raised,
        elapsed_s=elapsed,
        devices=found[0].devices,
        trespassed=tuple(dict.fromkeys(n for observed in found for n in observed.trespassed)),
    )


class _UnevenError(Exception):
    """What the ranks returned does not fit together."""


def _raised(found: list[Observation]) -> Raised | None:
    for rank, observed in enumerate(found):
        if observed.raised is not None:
            return Raised(observed.raised.trouble, f"{observed.raised.text} (on rank {rank})")
    return None


def _whole(name: str, parts: list[Tensor], orders: list[Order]) -> Tensor:
    """Lay the shards of a tensor of the shape of x side by side."""
    x = orders[0].inputs.tensors["x"]
    for rank, (part, order) in enumerate(zip(parts, orders, strict=True)):
        shape = (order.end - order.begin, *x.shape[1:])
        if part.shape != shape:
            raise _UnevenError(f"{name} has the shape {tuple(part.shape)} on rank {rank}, whose "
                               f"shard has {shape}")  # fmt: skip
        if part.dtype != parts[0].dtype:
            raise _UnevenError(f"{name} is {part.dtype} on rank {rank}, but {parts[0].dtype} on "
                               "rank 0")  # fmt: skip
    return torch.cat(parts)


def _gradients(inputs: Inputs, orders: list[Order], found: list[Observation]) -> dict[str, Tensor]:
    """Lay dx side by side; add up the others over the ranks, rounded once to its format."""
    gradients: dict[str, Tensor] = {}
    names = dict.fromkeys(name for observed in found for name in observed.gradients)
    for name in names:
        parts = [observed.gradients.get(name) for observed in found]
        given = inputs.tensors[name]
        # An empty shard has nothing to give: no gradient there is as good as zeros.
        full = [
            p if p is not None else _nothing(inputs, name)
            for p, o in zip(parts, orders, strict=True)
            if p is not None or o.end == o.begin
        ]
        if len(full) < len(parts):
            continue
        if name == "x":
            gradients[name] = _whole("grad_x", full, orders)
        else:
            total = torch.stack([part.double() for part in full]).sum(0)
            gradients[name] = round_to(total, FloatFormat.of(given.dtype)).to(given.dtype)
    return gradients


def _nothing(inputs: Inputs, name: str) -> Tensor:
    given = inputs.tensors[name]
    return torch.zeros_like(given[:0] if name == "x" else given)


def _farthest(parts: list[Tensor]) -> Tensor:
    """Return, per element, the value of the rank that is farthest from the median rank."""
    stacked = torch.stack(parts)
    distance = (stacked.double() - stacked.double().median(0).values).abs()
    worst = torch.where(distance.isnan(), torch.inf, distance).argmax(0, keepdim=True)
    return stacked.gather(0, worst)[0]
