"""Which executor calls a target."""

from __future__ import annotations

import torch

from normcheck.execution.in_process import InProcess
from normcheck.execution.ranks import OP_ON_RANKS, Ranks
from normcheck.execution.watchdog import Watchdog
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter

__all__ = ["executor_for"]


def executor_for(
    adapter: Adapter, device: torch.device, policy: Policy, watchdog: Watchdog
) -> InProcess:
    """Return the executor of a target: on ranks for the op that is defined on ranks."""
    kind = Ranks if adapter.op.name == OP_ON_RANKS else InProcess
    return kind(adapter, device, policy, watchdog)
