"""flash-linear-attention: its norms, in Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

__all__ = ["LIBRARY", "add_rms_norm", "group_norm", "l2_norm", "layer_norm", "prepare", "rms_norm"]


def prepare() -> None:
    """Normalize one row."""
    import torch

    rms_norm(torch.ones(1, 4), torch.ones(4), 1e-6)


def _norms() -> ModuleType:
    from normcheck.survey.adaptors.torchvision import importable

    importable()  # it imports Transformers, which imports torchvision where there is one
    import fla.modules.layernorm

    found: ModuleType = fla.modules.layernorm
    return found


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> object:
    """``layer_norm``."""
    return _norms().layer_norm(x, weight, bias, eps=eps)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> object:
    """``rms_norm``."""
    return _norms().rms_norm(x, weight, None, eps=eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float) -> object:
    """``rms_norm`` with a residual, which returns the sum too."""
    return _norms().rms_norm(x, weight, None, residual=residual, eps=eps, prenorm=True)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> object:
    """``group_norm`` of the last dimension of rows: samples of one point."""
    if x.shape[2:].numel() != 1:
        raise ValueError(f"x is {tuple(x.shape)}, but must be rows: it groups the last dimension")
    rows = x.reshape(x.shape[:2])
    y: Tensor = _norms().group_norm(rows, weight, bias, eps=eps, num_groups=num_groups)
    return y.reshape(x.shape)


def l2_norm(x: Tensor, eps: float) -> object:
    """``l2norm``: epsilon is added to the sum of squares."""
    _norms()
    from fla.modules.l2norm import l2norm

    return l2norm(x, eps)


def _subject(name: str, op: str, function: str, *policies: str) -> Subject:
    return Subject(name, op, f":{function}", policies=policies, framework="torch", interpreted=True)


LIBRARY = Library(
    "flash-linear-attention",
    ("flash-linear-attention", "fla-core", "triton", "torch"),
    (
        _subject("layer_norm", "layer_norm", "layer_norm"),
        _subject("rms_norm", "rms_norm", "rms_norm"),
        _subject("rms_norm with residual", "add_rms_norm", "add_rms_norm"),
        _subject("group_norm", "group_norm", "group_norm"),
        _subject("l2norm", "l2_norm", "l2_norm", "eps=inside"),
    ),
    prepare="prepare",
)
