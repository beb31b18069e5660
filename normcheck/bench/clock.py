"""How time is taken: torch's benchmark timer on a CPU, events on a GPU.

The timer is that of torch.utils.benchmark, not pytest-benchmark's: pytest-benchmark is no
dependency of the command line, and its fixture needs the configuration of a pytest session.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch.utils.benchmark import Timer

__all__ = ["Clock", "CpuClock", "CudaClock", "Timing", "clock_of", "timing"]

T = TypeVar("T")
_WARMUPS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call, of several measurements.

    Attributes:
        runs: Number of measurements.
        median: Median of them.
        least: Smallest.
        iqr: Between the first and the third quartile.
    """

    runs: int
    median: float
    least: float
    iqr: float


def timing(seconds: Sequence[float]) -> Timing:
    """Summarise measurements, of which there is at least one."""
    first = third = seconds[0]
    if len(seconds) > 1:
        first, _, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(len(seconds), statistics.median(seconds), min(seconds), third - first)


class Clock(Protocol):
    """Takes the time of a step."""

    @property
    def method(self) -> str:
        """How, in words."""

    def seconds(self, before: Callable[[], T], step: Callable[[T], object]) -> list[float]:
        """Measure ``step(before())`` several times, without the time of ``before``."""


@dataclass(slots=True)
class CpuClock:
    """Blocks of calls under torch's timer, until they have taken long enough together.

    Attributes:
        least_s: Seconds that all measurements together take at least.
    """

    least_s: float
    _elapsed: float = 0.0

    @property
    def method(self) -> str:
        """Name of the function that measures."""
        return "torch.utils.benchmark.Timer.blocked_autorange"

    def seconds(self, before: Callable[[], T], step: Callable[[T], object]) -> list[float]:
        """Measure; the timer reads a clock that stands still during ``before``."""

        def once() -> None:
            given = before()
            started = time.perf_counter()
            # Freeing what comes out is part of a call.
            step(given)
            self._elapsed += time.perf_counter() - started

        # A first call compiles and allocates.
        for _ in range(_WARMUPS):
            once()
        timer = Timer(
            "once()",
            globals={"once": once},
            timer=lambda: self._elapsed,
            num_threads=torch.get_num_threads(),
        )
        return list(timer.blocked_autorange(min_run_time=self.least_s).times)


@dataclass(frozen=True, slots=True)
class CudaClock:
    """An event before and after each call, with the cache swept before.

    Attributes:
        device: A GPU.
        least_s: Seconds that all measurements together take at least, as far as `_MOST` allows.
    """

    device: torch.device
    least_s: float

    @property
    def method(self) -> str:
        """What measures."""
        return "CUDA events, the L2 cache overwritten before each call"

    def seconds(self, before: Callable[[], T], step: Callable[[T], object]) -> list[float]:
        """Measure; the device works on the sweep while the call is on its way to it."""
        with torch.cuda.device(self.device):
            sweep = torch.empty(_SWEEP, dtype=torch.int8, device=self.device)
            for _ in range(_WARMUPS):
                step(before())
            estimate = max(statistics.median(self._pass(_FEWEST, sweep, before, step)), 1e-7)
            runs = min(max(int(self.least_s / estimate), _FEWEST), _MOST)
            return self._pass(runs, sweep, before, step)

    def _pass(
        self, runs: int, sweep: torch.Tensor, before: Callable[[], T], step: Callable[[T], object]
    ) -> list[float]:
        pairs = []
        for _ in range(runs):
            given = before()
            first, last = _event(), _event()
            sweep.zero_()
            first.record()
            step(given)
            last.record()
            pairs.append((first, last))
        torch.cuda.synchronize(self.device)
        return [first.elapsed_time(last) / 1e3 for first, last in pairs]


def _event() -> torch.cuda.Event:
    # torch does not annotate the constructor.
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


# Larger than the second-level cache of any GPU of 2026.
_SWEEP = 1 << 28
_FEWEST, _MOST = 10, 1000


def clock_of(device: torch.device, least_s: float) -> Clock:
    """Return the clock of a device."""
    return CudaClock(device, least_s) if device.type == "cuda" else CpuClock(least_s)
