"""torch's own function of an op, by name: what others are compared with. Imports no torch."""

from __future__ import annotations

__all__ = ["MODULE", "name_of"]

MODULE = "torch.nn.functional"
_NAMES = {
    "layer_norm": "layer_norm", "rms_norm": "rms_norm", "group_norm": "group_norm",
    "instance_norm": "instance_norm", "batch_norm": "batch_norm", "l2_norm": "normalize",
}  # fmt: skip


def name_of(op: str) -> str:
    """Return the name of the function of `MODULE` that computes an op, empty without one."""
    return _NAMES.get(op, "")
