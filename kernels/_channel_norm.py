"""Group and batch norm as one operator of torch, ``normcheck::channel_norm``.

With 0 groups statistics are the batch's, or those that are given.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normcheck.kernels._channel_launches import backward, empty_backward, empty_forward, forward

__all__ = ["channel_norm", "check_channels"]

# torch leaves the class without types.
_library: Any = torch.library.Library("normcheck", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "channel_norm(Tensor x, Tensor? weight, Tensor? bias, Tensor? mean, Tensor? variance,"
    " SymInt groups, float eps, bool one_plus, bool cast, bool strict)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    "channel_norm_backward(Tensor dy, Tensor x, Tensor? weight, Tensor means, Tensor roots,"
    " SymInt groups, bool one_plus, bool fixed, bool strict, ScalarType? dweight,"
    " ScalarType? dbias) -> (Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
for _device in ("CUDA", "CPU"):
    _library.impl("channel_norm", forward, _device)
    _library.impl("channel_norm_backward", backward, _device)
torch.library.register_fake("normcheck::channel_norm", empty_forward, lib=_library)
torch.library.register_fake("normcheck::channel_norm_backward", empty_backward, lib=_library)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, bias, mean, _variance, groups, _eps, one_plus, _cast, strict = inputs
    _, means, roots, variances = output
    ctx.set_materialize_grads(False)
    ctx.settings = groups, one_plus, mean is not None, strict
    ctx.mark_non_differentiable(means, roots, variances)
    ctx.save_for_backward(x, weight, means, roots)
    ctx.bias = None if bias is None else bias.dtype


def _differentiate(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> Any:
    x, weight, means, roots = ctx.saved_tensors
    _, wants_weight, wants_bias, *_rest = ctx.needs_input_grad
    dx, dweight, dbias = torch.ops.normcheck.channel_norm_backward(
        torch.zeros_like(x) if dy is None else dy, x, weight, means, roots, *ctx.settings,
        weight.dtype if wants_weight else None, ctx.bias if wants_bias else None,
    )  # fmt: skip
    return (dx, dweight if wants_weight else None, dbias if wants_bias else None, *[None] * 7)


def _refuse(ctx: Any, *_: Tensor | None) -> Any:
    raise NotImplementedError("the gradient of channel_norm is not differentiated again")


torch.library.register_autograd(
    "normcheck::channel_norm", _differentiate, setup_context=_keep, lib=_library
)
torch.library.register_autograd("normcheck::channel_norm_backward", _refuse, lib=_library)


def channel_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    groups: int,
    eps: float,
    *,
    zero_centered: bool,
    rounding: str,
    mode: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the kernels; return y and, of a batch, means and variances of n - 1.

    Args:
        x: ``(samples, channels, *)``.
        weight: ``(channels,)``, any floating point dtype.
        bias: Likewise.
        mean: Likewise; what is used instead of the batch's, with ``variance``.
        variance: Likewise.
        groups: A divisor of the channels; 0 for statistics of a batch.
        eps: Added to the variance.
        zero_centered: Whether x is multiplied by 1 + weight.
        rounding: ``fused`` or ``cast_then_scale``.
        mode: ``fast`` or ``strict``.
    """
    found = torch.ops.normcheck.channel_norm(
        x, weight, bias, mean, variance, groups, eps, zero_centered,
        rounding == "cast_then_scale", mode == "strict",
    )  # fmt: skip
    return found[0], found[1], found[3]


def check_channels(x: Tensor, **each: Tensor | None) -> None:
    """Refuse an x that has no channels, and what is not one number per channel.

    Raises:
        ValueError: A shape does not fit; the message names it.
        TypeError: x is not floating point.
    """
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, but must be floating point")
    if x.ndim < 2:
        raise ValueError(f"x is {tuple(x.shape)}, but must be (samples, channels, *)")
    for name, tensor in each.items():
        if tensor is not None and tuple(tensor.shape) != (x.shape[1],):
            raise ValueError(f"{name} is {tuple(tensor.shape)}, but must be {(x.shape[1],)}")
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, but must be on {x.device}, as x is")
