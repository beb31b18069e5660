"""normcheck's own fused kernel of an op, by name: what others are compared with on a GPU.

Imports no torch: a process that has asked CUDA for its devices cannot fork children that use them.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec

__all__ = ["kernel_of"]

_PACKAGE = "normcheck.kernels"


def kernel_of(op: str, device: str) -> str:
    """Return the target that is our kernel of an op, empty without one.

    On a CPU there is none: torch's own operators would answer in its place.

    Args:
        op: Name of the op.
        device: As a user types it.
    """
    if find_spec("triton") is None or find_spec(f"{_PACKAGE}.{op}") is None:
        return ""
    return f"{_PACKAGE}.{op}:{op}" if _is_gpu(device) else ""


def _is_gpu(device: str) -> bool:
    return _sees_a_gpu() if device == "auto" else device.startswith("cuda")


@cache
def _sees_a_gpu() -> bool:
    """Whether ``auto`` is a GPU here, found out in another process."""
    words = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    return subprocess.run(words, capture_output=True).returncode == 0
