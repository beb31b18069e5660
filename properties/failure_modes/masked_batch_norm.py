"""Batch norms of padded sequences that are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

Optional = Tensor | None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _channel(parameter: Tensor) -> Tensor:
    return _wide(parameter)[None, :, None]


def _affine(h: Tensor, weight: Optional, bias: Optional, dtype: torch.dtype) -> Tensor:
    h = h if weight is None else h * _channel(weight)
    return (h if bias is None else h + _channel(bias)).to(dtype)


def _moments(h: Tensor, keep: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor]:
    mean = (h * keep).sum((0, 2), keepdim=True) / count
    variance = ((h - mean) * keep).square().sum((0, 2), keepdim=True) / count
    return mean, variance


@torch.no_grad()
def _update(running: Optional, new: Tensor, momentum: float) -> None:
    if running is not None:
        running.copy_((1.0 - momentum) * _wide(running) + momentum * new.flatten())


def mask_ignored(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    h = _wide(x)
    return torch.nn.functional.batch_norm(
        h, None if running_mean is None else _wide(running_mean).clone(),
        None if running_var is None else _wide(running_var).clone(),
        None if weight is None else _wide(weight), None if bias is None else _wide(bias),
        training, momentum, eps,
    ).to(x.dtype)  # fmt: skip


def _masked(
    x: Tensor,
    mask: Tensor,
    running: tuple[Optional, Optional],
    training: bool,
    momentum: float,
    eps: float,
    *,
    divisor: str = "valid",
    correction: str = "valid",
) -> Tensor:
    """Normalise over valid positions, wrong as the keywords say."""
    keep = mask[:, None, :]
    h = torch.where(keep, _wide(x), 0.0)
    valid, everything = int(mask.sum()), mask.numel()
    if not training:
        mean, variance = (_channel(t) for t in running if t is not None)
        return (h - mean) * torch.rsqrt(variance + eps)
    mean, variance = _moments(h, keep, valid if divisor == "valid" else everything)
    unbiased = valid if correction == "valid" else everything
    if correction != "none":
        _update(running[0], mean, momentum)
        _update(running[1], variance * (unbiased / max(unbiased - 1, 1)), momentum)
    y = (h - mean) * torch.rsqrt(variance + eps)
    return torch.where(keep, y, 0.0)


def divides_by_all(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    running = running_mean, running_var
    h = _masked(x, mask, running, training, momentum, eps, divisor="all")
    return _affine(h, weight, bias, x.dtype)


def corrects_by_all(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    running = running_mean, running_var
    h = _masked(x, mask, running, training, momentum, eps, correction="all")
    return _affine(h, weight, bias, x.dtype)


def lost_update(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    running = running_mean, running_var
    h = _masked(x, mask, running, training, momentum, eps, correction="none")
    return _affine(h, weight, bias, x.dtype)


class _LeakToPadding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep, x, 0.0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, dy: Tensor) -> tuple[Tensor, None]:
        return dy, None


def gradient_leaks_to_padding(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    keep = mask[:, None, :]
    h: Tensor = _LeakToPadding.apply(_wide(x), keep)  # type: ignore[no-untyped-call]
    if training:
        valid = int(mask.sum())
        mean = h.sum((0, 2), keepdim=True) / valid
        variance = ((h - mean).square() * keep).sum((0, 2), keepdim=True) / valid
        _update(running_mean, mean, momentum)
        _update(running_var, variance * (valid / max(valid - 1, 1)), momentum)
    else:
        mean, variance = (_channel(t) for t in (running_mean, running_var) if t is not None)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def trailing_padding_assumed(
    x: Tensor,
    mask: Tensor,
    running_mean: Optional,
    running_var: Optional,
    weight: Optional,
    bias: Optional,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    # Right only where the valid positions of each sample come first.
    position = torch.arange(x.shape[2], device=x.device)
    prefix = position < mask.sum(1, keepdim=True)
    running = running_mean, running_var
    h = _masked(x, prefix, running, training, momentum, eps)
    return _affine(h, weight, bias, x.dtype)
