"""How much memory a call needs beside its inputs: the most bytes that are allocated at once."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_bytes"]


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Return the most bytes that torch has allocated at once during a call, results included.

    None where torch allocates nothing: the call is another framework's.
    """
    return _on_gpu(call, device) if device.type == "cuda" else _on_cpu(call)


def _on_gpu(call: Callable[[], object], device: torch.device) -> int | None:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) or None


def _on_cpu(call: Callable[[], object]) -> int | None:
    """Add up the allocations that the profiler has seen; its trace is the public way to them."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        with _silenced():
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
                result = call()
            profiler.export_chrome_trace(str(trace))
        del result
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    now = most = 0
    changes = [event for event in events if event["name"] == "[memory]"]
    for event in sorted(changes, key=lambda event: float(event["ts"])):
        now += int(event["args"]["Bytes"])
        most = max(most, now)
    return most or None


@contextmanager
def _silenced() -> Iterator[None]:
    """Drop what the profiler's C++ writes to stderr of its own beginning and end."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
