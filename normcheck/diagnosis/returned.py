"""What is returned as the sum of x and residual, where it is not the sum."""

from __future__ import annotations

from normcheck.diagnosis.answer import Diagnosis
from normcheck.properties.trial import Trial

__all__ = ["returned_sum"]


def returned_sum(small: Trial, whole: Trial) -> Diagnosis:
    """What is returned as the sum of x and residual."""
    words = {
        "x": "x is returned instead of the sum",
        "residual": "residual is returned instead of the sum",
        "y": "the normalised values are returned as the sum",
        "difference": "the difference is returned instead of the sum",
    }
    for name, text in words.items():
        if all(_is_returned(trial, name) for trial in (small, whole)):
            return Diagnosis(text, "K36")
    return Diagnosis()


def _is_returned(trial: Trial, name: str) -> bool:
    outputs, tensors = trial.forward.outputs, trial.inputs.tensors
    known = {
        "x": tensors["x"], "residual": tensors["residual"], "y": outputs["y"],
        "difference": tensors["x"] - tensors["residual"],
    }  # fmt: skip
    value, other = outputs["residual_out"].double(), known[name].double()
    return bool(((value == other) | (value.isnan() & other.isnan())).all())
