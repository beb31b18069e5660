"""What is measured, on a clock that only the calls advance; memory that is known beforehand."""

from __future__ import annotations

import time

import pytest
import torch

from normcheck.bench.clock import CpuClock, CudaClock, clock_of, timing
from normcheck.bench.memory import peak_bytes

CPU = torch.device("cpu")


def test_times_are_summarised_by_median_and_quartiles() -> None:
    found = timing([4.0, 1.0, 3.0, 2.0])
    assert (found.runs, found.median, found.least) == (4, 2.5, 1.0)
    # Quartiles of 1, 2, 3, 4 with linear interpolation: 1.75 and 3.25.
    assert found.iqr == 1.5
    assert timing([2.0]).iqr == 0.0


def test_what_comes_before_a_call_is_no_part_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    made: list[int] = []

    def before() -> int:
        now[0] += 100.0
        made.append(len(made))
        return made[-1]

    def step(given: int) -> None:
        assert given == made[-1]
        now[0] += 2.0

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    # Each call takes two seconds: five of them are ten.
    assert CpuClock(10.0).seconds(before, step) == [2.0] * 5


def test_each_kind_of_device_has_its_clock() -> None:
    assert isinstance(clock_of(CPU, 0.1), CpuClock)
    found = clock_of(torch.device("cuda"), 0.1)
    assert isinstance(found, CudaClock)
    assert "CUDA events" in found.method


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_events_measure_a_copy_on_a_gpu() -> None:
    device = torch.device("cuda")
    source = torch.ones(1 << 20, device=device)
    found = CudaClock(device, 1e-3).seconds(lambda: torch.empty_like(source), source.copy_)
    assert len(found) >= 10
    # 8 MiB in a microsecond would be more than any memory moves.
    assert min(found) > 1e-7
    assert peak_bytes(lambda: torch.neg(source), device) == 4 << 20


def test_memory_is_the_most_that_is_allocated_at_once() -> None:
    x = torch.ones(1000)
    # The first result is freed after the second is there, and before the third.
    assert peak_bytes(lambda: torch.neg(torch.neg(torch.neg(x))), CPU) == 2 * 4000
    assert peak_bytes(lambda: (torch.neg(x), torch.neg(x), torch.neg(x)), CPU) == 3 * 4000


def test_memory_is_unknown_where_torch_allocates_nothing() -> None:
    assert peak_bytes(lambda: bytearray(1000), CPU) is None
