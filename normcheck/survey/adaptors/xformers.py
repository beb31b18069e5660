"""xFormers: RMSNorm for inference, in Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "prepare", "rms_norm"]


def prepare() -> None:
    """Normalize one row, on a GPU: the library checks for one before it calls Triton."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("xformers.ops.rms_norm needs a CUDA device")
    rms_norm(torch.ones(1, 4).cuda(), torch.ones(4).cuda(), 1e-6)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> object:
    """``rms_norm``; it refuses where a gradient is needed."""
    from xformers.ops.rmsnorm import rms_norm as function

    return function(x, weight, eps)


LIBRARY = Library(
    "xFormers",
    ("xformers", "triton", "torch"),
    (Subject("rms_norm", "rms_norm", ":rms_norm", framework="torch", interpreted=True),),
    prepare="prepare",
)
