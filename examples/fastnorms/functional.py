"""A function."""

import torch


def rms_norm(x, weight=None, eps=1e-6):
    """Return x over its root mean square, times weight; sums are kept in float32 or wider."""
    h = x.double() if x.dtype == torch.float64 else x.float()
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    return y.to(x.dtype)
