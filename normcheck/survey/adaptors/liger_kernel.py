"""Liger-Kernel: its autograd functions, in Triton."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LIBRARY",
    "add_rms_norm",
    "group_norm",
    "layer_norm",
    "prepare",
    "rms_norm",
    "rms_norm_gemma",
]


# The interpreter runs a program of Python for each row.
_MOST_ROWS = 2048


def _apply(module: str, name: str, x: Tensor, *arguments: object) -> Any:
    """Call an autograd function, with a root that the interpreter has.

    Liger takes the root from libdevice, which the interpreter knows nothing of, and from
    triton.language where there is no libdevice.
    """
    import importlib
    import os

    found = importlib.import_module(f"liger_kernel.ops.{module}")
    if os.environ.get("TRITON_INTERPRET") == "1":
        rows = x.numel() // max(x.shape[-1], 1)
        if rows > _MOST_ROWS:
            raise NotImplementedError(
                f"x has {rows} rows, but {_MOST_ROWS} are interpreted at most"
            )
        from triton.language import math as triton_math

        # Looked up at the call, in which the interpreter replaces it.
        vars(found)["rsqrt"] = lambda value: triton_math.rsqrt(value)
    return getattr(found, name).apply(x, *arguments)


def prepare() -> None:
    """Normalize one row."""
    import torch

    rms_norm(torch.ones(1, 4), torch.ones(4), 1e-6)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> object:
    """``LigerRMSNormFunction`` as Llama uses it, out of place."""
    return _apply("rms_norm", "LigerRMSNormFunction", x, weight, eps, 0.0, "llama", False)


def rms_norm_gemma(x: Tensor, weight: Tensor, eps: float) -> object:
    """``LigerRMSNormFunction`` as Gemma uses it, out of place."""
    return _apply("rms_norm", "LigerRMSNormFunction", x, weight, eps, 1.0, "gemma", False)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> object:
    """``LigerLayerNormFunction``, which has both parameters."""
    columns = x.shape[-1]
    weight = x.new_ones(columns) if weight is None else weight
    bias = x.new_zeros(columns) if bias is None else bias
    return _apply("layer_norm", "LigerLayerNormFunction", x, weight, bias, eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> object:
    """``LigerGroupNormFunction``, which has both parameters and three dimensions."""
    channels = x.shape[1]
    weight = x.new_ones(channels) if weight is None else weight
    bias = x.new_zeros(channels) if bias is None else bias
    lines = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    y: Tensor = _apply(
        "group_norm",
        "LigerGroupNormFunction",
        lines,
        weight,
        bias,
        channels,
        num_groups,
        eps,
    )
    return y.reshape(x.shape)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float) -> object:
    """``LigerFusedAddRMSNormFunction``, which has a weight, out of place."""
    weight = x.new_ones(x.shape[-1]) if weight is None else weight
    return _apply(
        "fused_add_rms_norm",
        "LigerFusedAddRMSNormFunction",
        x,
        residual,
        weight,
        eps,
        0.0,
        "llama",
        False,
    )


def _subject(name: str, op: str, function: str, *policies: str) -> Subject:
    return Subject(
        name, op, f":{function}", policies=policies, framework="torch", interpreted=True,
        note="on a CPU, with Triton's own reciprocal root in the place of libdevice's",
    )  # fmt: skip


LIBRARY = Library(
    "Liger-Kernel",
    ("liger_kernel", "triton", "torch"),
    (
        _subject("LigerRMSNorm", "rms_norm", "rms_norm"),
        _subject("LigerRMSNorm of Gemma", "rms_norm", "rms_norm_gemma", "weight=one_plus"),
        _subject("LigerLayerNorm", "layer_norm", "layer_norm"),
        _subject("LigerGroupNorm", "group_norm", "group_norm"),
        _subject("LigerFusedAddRMSNorm", "add_rms_norm", "add_rms_norm"),
    ),
    prepare="prepare",
)
