"""torch: the functions and modules themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "l2_norm"]


def l2_norm(x: Tensor, eps: float) -> object:
    """Normalize the last dimension; ``normalize`` itself defaults to dimension 1."""
    from torch.nn import functional

    return functional.normalize(x, dim=-1, eps=eps)


def _function(name: str) -> Subject:
    return Subject(f"functional.{name}", name, f"torch.nn.functional:{name}")


def _module(name: str, op: str) -> Subject:
    return Subject(f"nn.{name}", op, f"torch.nn:{name}")


LIBRARY = Library(
    "torch",
    ("torch",),
    (
        _function("layer_norm"),
        _module("LayerNorm", "layer_norm"),
        _function("rms_norm"),
        _module("RMSNorm", "rms_norm"),
        _function("group_norm"),
        _module("GroupNorm", "group_norm"),
        _function("batch_norm"),
        _module("BatchNorm1d", "batch_norm"),
        _module("BatchNorm2d", "batch_norm"),
        _function("instance_norm"),
        _module("InstanceNorm1d", "instance_norm"),
        _module("InstanceNorm2d", "instance_norm"),
        Subject("functional.normalize", "l2_norm", ":l2_norm"),
    ),
)
