"""torch: the same functions through torch.compile, with shapes left open."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "group_norm", "l2_norm", "layer_norm", "rms_norm"]

# Formats, gradients on and off, and single rows are variants of their own; past its limit
# torch.compile would silently run the function eagerly.
_VARIANTS = 256


@cache
def _compiled(name: str) -> Callable[..., Any]:
    import torch
    import torch._dynamo.config
    from torch.nn import functional

    torch._dynamo.config.recompile_limit = _VARIANTS
    torch._dynamo.config.accumulated_recompile_limit = _VARIANTS
    compiled: Callable[..., Any] = torch.compile(
        getattr(functional, name), fullgraph=True, dynamic=True
    )
    return compiled


def _rows(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Two dimensions: every rank would be compiled anew."""
    columns = math.prod(shape)
    return x.reshape(x.numel() // max(columns, 1), columns).contiguous()


def _flat(parameter: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    return None if parameter is None else parameter.reshape(math.prod(shape))


def layer_norm(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None,
    eps: float,
) -> object:  # fmt: skip
    """Compiled ``layer_norm``; several normalized dimensions as one."""
    flat = [_flat(p, normalized_shape) for p in (weight, bias)]
    rows = _rows(x, normalized_shape)
    return _compiled("layer_norm")(rows, rows.shape[1:], *flat, eps).reshape(x.shape)


def rms_norm(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, eps: float
) -> object:
    """Compiled ``rms_norm``; several normalized dimensions as one."""
    rows = _rows(x, normalized_shape)
    flat = _flat(weight, normalized_shape)
    return _compiled("rms_norm")(rows, rows.shape[1:], flat, eps).reshape(x.shape)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> object:
    """Compiled ``group_norm``; the spatial dimensions as one."""
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:])).contiguous()
    return _compiled("group_norm")(flat, num_groups, weight, bias, eps).reshape(x.shape)


def l2_norm(x: Tensor, eps: float) -> object:
    """Compiled ``normalize`` of the last dimension."""
    rows = _rows(x, x.shape[-1:])
    return _compiled("normalize")(rows, dim=-1, eps=eps).reshape(x.shape)


# Every variant takes seconds to compile: one narrow format stands for both.
_DTYPES = ("bfloat16", "float32")

LIBRARY = Library(
    "torch.compile",
    ("torch",),
    (
        Subject("layer_norm", "layer_norm", ":layer_norm", _DTYPES),
        Subject("rms_norm", "rms_norm", ":rms_norm", _DTYPES),
        Subject("normalize", "l2_norm", ":l2_norm", _DTYPES),
    ),
)
