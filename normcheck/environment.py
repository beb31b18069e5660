"""Where a run took place, as the record tells it."""

from __future__ import annotations

import platform

import torch

import normcheck
from normcheck.record import Environment

__all__ = ["describe"]


def describe(device: torch.device, threads: int) -> Environment:
    """Describe the machine as far as it can change a result.

    Args:
        device: Where the target ran.
        threads: How many threads of torch it had.
    """
    devices = {"cpu": platform.processor() or platform.machine()}
    if device.type == "cuda":
        devices[str(device)] = torch.cuda.get_device_name(device)
    return Environment(
        normcheck=normcheck.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{platform.system()} {platform.machine()}",
        threads=threads,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        devices=devices,
    )
