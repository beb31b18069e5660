"""L2 normalization of the last dimension."""

from __future__ import annotations

from torch import Tensor

from normcheck.kernels._row_norm import row_norm

__all__ = ["l2_norm"]


def l2_norm(x: Tensor, eps: float = 1e-12, *, mode: str = "fast") -> Tensor:
    """Return x / max(sqrt(sum x^2), eps), of x's dtype and contiguous.

    Args:
        x: ``(*, columns)``; any strides.
        eps: The least norm that is divided by.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: mode is no choice.
        TypeError: x is not floating point.
    """
    y, _ = row_norm("l2", x, eps=eps, mode=mode)
    return y
