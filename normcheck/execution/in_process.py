"""Calls a target in this process and writes down everything that it did."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from normcheck.cases.materialise import Inputs
from normcheck.execution.observation import Observation
from normcheck.execution.session import Session, same_bits
from normcheck.execution.stopwatch import Stopwatch
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter

__all__ = ["InProcess", "same_bits"]


class InProcess:
    """The executor for targets that the user trusts.

    Attributes:
        adapter: The target.
        device: Where its tensors live.
        stopwatch: Where the time goes.
        gradients: Per dtype, the case that first had a gradient, and the one that first had none.
        worst: Per dtype and tensor, the largest error over budget of plain calls.
        threads: How many threads of torch the target may use: as many as when it was made.
        bystanders: Threads of Python that ran before it was made: they are not the target's.
    """

    def __init__(
        self, adapter: Adapter, device: torch.device, policy: Policy, watchdog: Watchdog
    ) -> None:
        self.adapter, self.device, self.policy = adapter, device, policy
        self.watchdog = watchdog
        self.stopwatch = Stopwatch()
        self.gradients: dict[tuple[str, bool], str] = {}
        self.worst: dict[tuple[str, str], float] = {}
        self.threads = torch.get_num_threads()
        self.bystanders = frozenset(threading.enumerate())

    def call(self, inputs: Inputs, way: Way) -> Observation:
        """Call once, in any way, on fresh copies of the tensors."""
        return self.session(inputs, way).run()

    def session(self, inputs: Inputs, way: Way) -> Session:
        """Make ready to call several times on the same tensors."""
        return Session(self, inputs, way)

    @contextmanager
    def aside(self, dtype: str) -> Iterator[None]:
        """Call in variations of a case of one dtype, and forget what they show.

        How wrong plain calls are, and whether there are gradients, is what the run's own cases say.
        """
        gradients, worst = dict(self.gradients), dict(self.worst)
        # Other dtypes may be judged by another process: a variation in one meets nothing known.
        self.gradients = {key: case for key, case in gradients.items() if key[0] == dtype}
        self.worst = {key: ratio for key, ratio in worst.items() if key[0] == dtype}
        try:
            yield
        finally:
            self.gradients, self.worst = gradients, worst

    def forward(self, inputs: Inputs) -> Observation:
        """Call once without gradients."""
        return self.call(inputs, Way())

    def backward(self, inputs: Inputs) -> Observation:
        """Call once with gradients and differentiate."""
        return self.call(inputs, Way(gradients=True))
