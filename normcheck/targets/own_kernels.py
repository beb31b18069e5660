"""normcheck's own fused kernel of an op, by name: what others are compared with on a GPU.

Imports no torch but to find out what device ``auto`` is.
"""

from __future__ import annotations

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
    if device != "auto":
        return device.startswith("cuda")
    import torch

    return torch.cuda.is_available()
