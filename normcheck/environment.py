"""Where a run took place, as the record tells it."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

import torch

import normcheck
from normcheck.record import Environment

__all__ = ["describe", "source_of"]


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


def source_of(target: object) -> str:
    """Return the name of the file that a target is written in, and a digest of its bytes.

    Empty for what is in no file of Python.
    """
    # By the module, not by the code: a decorator's code is in another file.
    module = sys.modules.get(getattr(target, "__module__", None) or type(target).__module__)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return ""
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return f"{Path(file).name} sha256:{digest}"
