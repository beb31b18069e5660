"""FlagGems: its replacements of torch's norms, in Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "group_norm", "layer_norm", "prepare", "rms_norm"]


def prepare() -> None:
    """Normalize one row."""
    import torch

    rms_norm(torch.ones(1, 4), (4,), torch.ones(4), 1e-6)


def rms_norm(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, eps: float
) -> object:
    """``rms_norm``."""
    import flag_gems

    return flag_gems.rms_norm(x, normalized_shape, weight, eps)


def layer_norm(
    x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None,
    eps: float,
) -> object:  # fmt: skip
    """Torch's ``layer_norm`` with FlagGems in its place."""
    import flag_gems
    from torch.nn import functional

    with flag_gems.use_gems():
        return functional.layer_norm(x, normalized_shape, weight, bias, eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> object:
    """Torch's ``group_norm`` with FlagGems in its place."""
    import flag_gems
    from torch.nn import functional

    with flag_gems.use_gems():
        return functional.group_norm(x, num_groups, weight, bias, eps)


def _subject(name: str) -> Subject:
    return Subject(name, name, f":{name}", framework="torch", interpreted=True)


LIBRARY = Library(
    "FlagGems",
    ("flag_gems", "triton", "torch"),
    (_subject("rms_norm"), _subject("layer_norm"), _subject("group_norm")),
    prepare="prepare",
)
