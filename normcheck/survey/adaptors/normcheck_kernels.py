"""normcheck's own fused kernels, in Triton: targets like any."""

from __future__ import annotations

from normcheck.survey.subject import Library, Subject

__all__ = ["LIBRARY", "prepare"]


def prepare() -> None:
    """Normalize one row."""
    import torch

    from normcheck.kernels.rms_norm import rms_norm

    rms_norm(torch.ones(1, 4), None, torch.ones(4))


def _subject(op: str) -> Subject:
    target = f"normcheck.kernels.{op}:{op}"
    return Subject(op, op, target, framework="torch", interpreted=True)


LIBRARY = Library(
    "normcheck's kernels",
    ("normcheck", "triton"),
    tuple(
        _subject(op)
        for op in (
            "layer_norm", "rms_norm", "l2_norm", "qk_norm", "add_rms_norm", "add_layer_norm",
            "group_norm", "batch_norm",
        )
    ),
    "prepare",
)  # fmt: skip
