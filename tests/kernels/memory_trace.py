"""What kernels do with memory: every access in Triton's interpreter, checked and counted.

The interpreter itself reads and writes whatever is at an address. Here each tensor of a launch gets
an address range of its own, in the upper bits that no real address has, so that an access by way of
one tensor that ends up in another is outside too. An access outside is reported and not made.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from triton.runtime import interpreter

__all__ = ["Launch", "Trace", "poisoned", "traced"]

_TAG = 48
_ADDRESS = np.uint64((1 << _TAG) - 1)
# A program's number in an element's record, and what stands for several.
_NOBODY, _SEVERAL = 0, -1


@dataclass
class _Region:
    """The elements of one tensor of a launch, in the order of their distance from its first."""

    name: str
    tensor: torch.Tensor
    distances: NDArray[np.int64]
    writes: NDArray[np.int32]
    writer: NDArray[np.int32]
    reader: NDArray[np.int32]

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor) -> _Region:
        distances = torch.zeros(1, dtype=torch.int64)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            distances = (distances[:, None] + torch.arange(size) * stride).flatten()
        found = np.unique(distances.numpy())
        return cls(name, tensor, found, *(np.zeros(found.size, np.int32) for _ in range(3)))

    def places(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the elements at such addresses; -1 for one that is not the tensor's."""
        distance = addresses.astype(np.int64) - self.tensor.data_ptr()
        distance, beside = np.divmod(distance, self.tensor.element_size())
        most = self.distances.size - 1
        if most < 0:
            return np.full(distance.shape, -1)
        # The elements of a dense tensor are where they are counted.
        dense = self.distances[-1] == most
        place = distance if dense else np.searchsorted(self.distances, distance)
        place = np.clip(place, 0, most)
        return np.where((beside == 0) & (self.distances[place] == distance), place, -1)

    @property
    def memory(self) -> tuple[int, int]:
        """The addresses of its first byte and of the first one beyond its last."""
        start = self.tensor.data_ptr()
        elements = int(self.distances[-1]) + 1 if self.distances.size else 0
        return start, start + elements * self.tensor.element_size()


@dataclass
class Launch:
    """What one launch did.

    Attributes:
        kernel: Its name.
        loaded: Bytes read, by the argument of the kernel.
        stored: Bytes written, likewise.
    """

    kernel: str
    loaded: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)


@dataclass
class Trace:
    """All launches of a block.

    Attributes:
        launches: In their order.
        faults: What is wrong, one sentence each; empty for kernels that are right.
    """

    launches: list[Launch] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _regions: list[_Region] = field(default_factory=list)
    _named: list[str] = field(default_factory=list)

    @property
    def moved(self) -> int:
        """Bytes read and written by all launches."""
        counts = [count for each in self.launches for count in (each.loaded, each.stored)]
        return sum(sum(count.values()) for count in counts)

    def begin(self, kernel: str, named: list[str]) -> None:
        """Expect the tensors of such arguments."""
        self.launches.append(Launch(kernel))
        self._regions, self._named = [], named

    def address(self, tensor: torch.Tensor) -> int:
        """Return the address that stands for a tensor's first element."""
        self._regions.append(_Region.of(self._named[len(self._regions)], tensor))
        return (len(self._regions) << _TAG) + tensor.data_ptr()

    def end(self) -> None:
        """Find what a whole launch did wrong."""
        for region in self._regions:
            if not region.writes.any():
                continue
            counts = region.writes
            if missing := int((counts == 0).sum()):
                self._blame(f"does not write {missing} elements of {region.name}")
            if twice := int((counts > 1).sum()):
                self._blame(f"writes {twice} elements of {region.name} more than once")
            others = (region.reader != _NOBODY) & (region.reader != region.writer)
            if shared := int((others & (region.writes > 0)).sum()):
                self._blame(f"reads {shared} elements of {region.name} that another program writes")
            self._overlaps(region)

    def _overlaps(self, written: _Region) -> None:
        start, stop = written.memory
        for region in self._regions:
            first, last = region.memory
            if region is not written and first < stop and start < last:
                self._blame(f"writes {written.name} into the memory of {region.name}")

    def _blame(self, what: str) -> None:
        self.faults.append(f"{self.launches[-1].kernel} {what}")

    def access(
        self, pointers: NDArray[np.uint64], mask: NDArray[np.bool_], program: int, *, write: bool
    ) -> NDArray[np.bool_]:
        """Record an access and return where it may be made."""
        if not mask.any():
            return mask
        chosen = pointers[mask]
        # Where the pointer started, not where it strayed: most of a tile is inside.
        tag = int(np.bincount((chosen >> np.uint64(_TAG)).astype(np.int64)).argmax())
        region = self._regions[tag - 1]
        addresses = chosen - (np.uint64(tag) << np.uint64(_TAG))
        places = region.places(addresses)
        allowed = mask.copy()
        allowed[mask] = places >= 0
        if outside := int((places < 0).sum()):
            verb = "writes" if write else "reads"
            self._blame(f"{verb} {outside} elements outside {region.name} in program {program}")
        places = places[places >= 0]
        launch = self.launches[-1]
        counted = launch.stored if write else launch.loaded
        size = region.tensor.element_size()
        # What many lanes read at once is fetched once.
        count = places.size
        if not write and not (np.diff(places) > 0).all():
            count = np.unique(places).size
        counted[region.name] = counted.get(region.name, 0) + count * size
        if write:
            np.add.at(region.writes, places, 1)
            region.writer[places] = program + 1
        else:
            before = region.reader[places]
            alone = (before == _NOBODY) | (before == program + 1)
            region.reader[places] = np.where(alone, program + 1, _SEVERAL)
        return allowed

    def loaded(self, values: NDArray[Any], allowed: NDArray[np.bool_], kind: Any) -> None:
        """Find what nobody wrote: memory is poisoned with NaN, and inputs have none."""
        seen = values[allowed]
        if kind.name == "bf16":
            seen = (seen.astype(np.uint32) << 16).view(np.float32)
        if seen.dtype.kind == "f" and (unwritten := int(np.isnan(seen).sum())):
            self._blame(f"reads {unwritten} elements that nobody wrote")

    def unguarded(self) -> None:
        """Blame a masked load that does not say what stands for what it leaves out."""
        self._blame("loads under a mask and leaves open what is beside it")


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """Fill what torch allocates with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def traced() -> Iterator[Trace]:
    """Trace what is launched in a block; its tensors hold no NaN.

    Raises:
        AttributeError: This Triton's interpreter is built otherwise.
    """
    trace = Trace()
    builder: Any = interpreter.InterpreterBuilder
    executor: Any = interpreter.GridExecutor
    module: Any = interpreter
    load, store = builder.create_masked_load, builder.create_masked_store
    call, convert = executor.__call__, module._implicit_cvt

    @functools.wraps(call)
    def launch(self: Any, *arguments: Any, **named: Any) -> None:
        pairs = zip(self.arg_names, arguments, strict=False)
        trace.begin(self.fn.__name__, [name for name, each in pairs if hasattr(each, "data_ptr")])
        call(self, *arguments, **named)
        trace.end()

    def converted(argument: Any) -> Any:
        found = convert(argument)
        if hasattr(argument, "data_ptr"):
            found.handle.data = np.array([trace.address(argument)], dtype=np.uint64)
        return found

    def masked_load(
        self: Any, pointers: Any, mask: Any, other: Any, cache: Any, volatile: Any
    ) -> Any:
        if other is None and not mask.data.all():
            trace.unguarded()
        allowed = trace.access(pointers.data, mask.data, _program(self), write=False)
        found = load(self, _real(pointers), _masked(mask, allowed), other, cache, volatile)
        trace.loaded(found.data, allowed, found.dtype.scalar)
        return found

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, cache: Any) -> Any:
        allowed = trace.access(pointers.data, mask.data, _program(self), write=True)
        return store(self, _real(pointers), value, _masked(mask, allowed), cache)

    builder.create_masked_load, builder.create_masked_store = masked_load, masked_store
    executor.__call__, module._implicit_cvt = launch, converted
    try:
        with poisoned():
            yield trace
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        executor.__call__, module._implicit_cvt = call, convert


def _program(builder: Any) -> int:
    x, y, z = builder.grid_idx
    _, across, deep = builder.grid_dim
    return int((x * across + y) * deep + z)


def _real(pointers: Any) -> Any:
    return interpreter.TensorHandle(pointers.data & _ADDRESS, pointers.dtype)


def _masked(mask: Any, allowed: NDArray[np.bool_]) -> Any:
    return interpreter.TensorHandle(allowed, mask.dtype)
