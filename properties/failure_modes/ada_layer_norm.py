"""Adaptive layer norms that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _layer(x: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    c = h - h.mean(-1, keepdim=True)
    return c * torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)


def _modulated(h: Tensor, factor: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    return (h * factor[:, None] + _wide(shift)[:, None]).to(dtype)


def plain_scale(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    return _modulated(_layer(x, eps), _wide(scale), shift, x.dtype)


def scale_and_shift_swapped(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    return _modulated(_layer(x, eps), 1.0 + _wide(shift), scale, x.dtype)


def first_sample_for_all(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    first = scale[:1].expand_as(scale) + 0.0 * scale
    return _modulated(_layer(x, eps), 1.0 + _wide(first), shift, x.dtype)


def modulation_before_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    h = _wide(x) * (1.0 + _wide(scale)[:, None]) + _wide(shift)[:, None]
    return _layer(h, eps).to(x.dtype)


def eps_fixed(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    return _modulated(_layer(x, 1e-5), 1.0 + _wide(scale), shift, x.dtype)


def first_token_scale_gradient(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    h, factor = _layer(x, eps), (1.0 + _wide(scale))[:, None].expand(x.shape)
    # The gradient of the scale sees the first token of each sample only.
    token = torch.arange(x.shape[1], device=x.device)[None, :, None]
    used = torch.where(token == 0, factor, factor.detach())
    return (h * used + _wide(shift)[:, None]).to(x.dtype)


def no_mean_term(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    h = _wide(x)
    c = h - h.mean(-1, keepdim=True).detach()
    h = c * torch.rsqrt(c.square().mean(-1, keepdim=True) + eps)
    return _modulated(h, 1.0 + _wide(scale), shift, x.dtype)
