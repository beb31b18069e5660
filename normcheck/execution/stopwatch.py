"""Where the time of a run goes, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

__all__ = ["Stopwatch", "threads"]


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent inside the target, and in reference, budget and comparison."""

    target_s: float = 0.0
    judge_s: float = 0.0


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads in the body.

    All of normcheck's own work runs on one: its tensors are small, and on a busy machine two
    threads that wait for each other take thirty times as long. A target gets what the user gave.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
