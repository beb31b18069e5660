"""RMS normalization of the heads of queries and keys."""

from __future__ import annotations

from torch import Tensor

from normcheck.kernels._row_norm import row_norm

__all__ = ["qk_norm"]


def qk_norm(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> tuple[Tensor, Tensor]:
    """Return q and k, each over the root mean square of its last dimension, times its weight.

    Args:
        q: ``(*, features)``; any strides, as of a slice of one projection.
        k: Likewise; the number of heads may differ.
        q_weight: ``(features,)``; any floating point dtype.
        k_weight: Likewise.
        eps: Added to the mean square.
        zero_centered: Whether the normalised values are multiplied by 1 + weight.
        rounding: ``fused`` rounds once; ``cast_then_scale`` also before weight, as Llama's does.
        mode: ``fast``, or ``strict``: one tree of additions, the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: q or k is not floating point.
    """

    def one(x: Tensor, weight: Tensor | None) -> Tensor:
        return row_norm(
            "rms", x, weight=weight, eps=eps, zero_centered=zero_centered, rounding=rounding,
            mode=mode,
        )[0]  # fmt: skip

    return one(q, q_weight), one(k, k_weight)
