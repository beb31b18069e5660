"""How an error over its budget is written, at every door the same."""

from __future__ import annotations

import math

__all__ = ["ratio_text"]

_TIMES = "\N{MULTIPLICATION SIGN}"


def ratio_text(ratio: float) -> str:
    """Return error over budget in at most six characters, never rounded across the budget.

    What is below 1 prints as at most 0.99, what is above 1 as at least 1.01.
    """
    if math.isnan(ratio):
        return "?"
    if ratio > 1000:
        return f">1000{_TIMES}"
    if ratio >= 9.995:
        return f"{ratio:.0f}{_TIMES}"
    if ratio > 1:
        return f"{max(ratio, 1.01):.2f}{_TIMES}"
    if ratio >= 0.0995:
        return f"{ratio if ratio == 1 else min(ratio, 0.99):.2f}{_TIMES}"
    if ratio >= 0.001:
        return f"{ratio:.3f}{_TIMES}"
    return f"<0.001{_TIMES}" if ratio > 0 else "0"
