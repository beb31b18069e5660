"""Normalizations over rows as one operator of torch: what autograd, compilers and autocast see.

``normcheck::row_norm`` serves layer, RMS and L2 norm; the files of the ops say how it is called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from normcheck.kernels._launch import accumulation, runs
from normcheck.kernels._row_launches import backward, empty_backward, empty_forward, forward

__all__ = ["check_choices", "row_norm"]

MODES = ("fast", "strict")
# Columns are numbered by 32 bits, and a chunk may go beyond the last one.
_LONGEST = 2**31 - 2**14
ROUNDINGS = ("fused", "cast_then_scale")

# torch leaves the class without types.
_library: Any = torch.library.Library("normcheck", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "row_norm(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, SymInt columns, str kind,"
    " float eps, bool one_plus, bool cast, bool strict) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    "row_norm_backward(Tensor dy, Tensor? dtotal, Tensor x, Tensor? weight, Tensor means,"
    " Tensor roots, SymInt columns, str kind, float eps, bool one_plus, bool strict,"
    " ScalarType? dweight, ScalarType? dbias) -> (Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
for _device in ("CUDA", "CPU"):
    _library.impl("row_norm", forward, _device)
    _library.impl("row_norm_backward", backward, _device)
torch.library.register_fake("normcheck::row_norm", empty_forward, lib=_library)
torch.library.register_fake("normcheck::row_norm_backward", empty_backward, lib=_library)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, residual, weight, bias, *ctx.settings = inputs
    _, total, means, roots = output
    ctx.set_materialize_grads(False)
    ctx.adds = residual is not None
    ctx.mark_non_differentiable(means, roots)
    ctx.save_for_backward(x if residual is None else total, weight, means, roots)
    ctx.bias = None if bias is None else (bias.dtype, bias.shape)


def _differentiate(ctx: Any, dy: Tensor | None, dtotal: Tensor | None, *_: Tensor | None) -> Any:
    x, weight, means, roots = ctx.saved_tensors
    columns, kind, eps, one_plus, _cast, strict = ctx.settings
    _, residual, wants_weight, wants_bias, *_rest = ctx.needs_input_grad
    # Without a residual the sum is an empty tensor, which may have a gradient, too.
    dx, dweight, dbias = torch.ops.normcheck.row_norm_backward(
        torch.zeros_like(x) if dy is None else dy, dtotal if ctx.adds else None, x, weight, means,
        roots, columns, kind, eps, one_plus, strict, weight.dtype if wants_weight else None,
        ctx.bias[0] if wants_bias else None,
    )  # fmt: skip
    # Of several dimensions the kernels make one.
    dweight = dweight.view(weight.shape) if wants_weight else None
    dbias = dbias.view(ctx.bias[1]) if wants_bias else None
    return dx, dx if residual else None, dweight, dbias, *[None] * 6


def _refuse(ctx: Any, *_: Tensor | None) -> Any:
    raise NotImplementedError("the gradient of row_norm is not differentiated again")


torch.library.register_autograd(
    "normcheck::row_norm", _differentiate, setup_context=_keep, lib=_library
)
torch.library.register_autograd("normcheck::row_norm_backward", _refuse, lib=_library)


def check_choices(rounding: str, mode: str) -> None:
    """Refuse what is no choice.

    Raises:
        ValueError: It names the value and the choices.
    """
    for name, value, choices in (("rounding", rounding, ROUNDINGS), ("mode", mode, MODES)):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}, but must be {' or '.join(choices)}")


def row_norm(
    kind: str,
    x: Tensor,
    *,
    residual: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    normalized_shape: Sequence[int] | None = None,
    eps: float,
    zero_centered: bool = False,
    rounding: str = "fused",
    mode: str = "fast",
) -> tuple[Tensor, Tensor]:
    """Normalise the last dimensions; return y, and what was normalised.

    Args:
        kind: ``layer``, ``rms`` or ``l2``.
        x: ``(*, normalized_shape)``, floating point.
        residual: As x; added before, and the sum rounded to x's dtype.
        weight: ``normalized_shape``, any floating point dtype.
        bias: Likewise.
        normalized_shape: The last dimension's size if left out.
        eps: Added under the root; for ``l2`` the least norm.
        zero_centered: Whether x is multiplied by 1 + weight.
        rounding: ``fused``, once, or ``cast_then_scale``, before weight too.
        mode: ``fast``, or ``strict``: the same bits on every device.

    Raises:
        ValueError: A shape or a choice does not fit; the message names it.
        TypeError: x is not floating point.
    """
    check_choices(rounding, mode)
    shape = tuple(x.shape[-1:] if normalized_shape is None else normalized_shape)
    _check(x, shape, residual, weight, bias)
    if not runs(x):
        return _on_torch(kind, x, residual, weight, bias, shape, eps, zero_centered, rounding)
    # An operator returns no argument: without a residual its sum is empty.
    y, total, _, _ = torch.ops.normcheck.row_norm(
        x, residual, weight, bias, math.prod(shape), kind, eps, zero_centered,
        rounding == "cast_then_scale", mode == "strict",
    )  # fmt: skip
    return y, x if residual is None else total


def _check(
    x: Tensor,
    shape: tuple[int, ...],
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, but must be floating point")
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"x is {tuple(x.shape)}, but must end with normalized_shape {shape}")
    if math.prod(shape) > _LONGEST:
        raise ValueError(f"rows have {math.prod(shape)} elements, but must have at most {_LONGEST}")
    for name, tensor, expected in (
        ("residual", residual, tuple(x.shape)), ("weight", weight, shape), ("bias", bias, shape)
    ):  # fmt: skip
        if tensor is not None and tuple(tensor.shape) != expected:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, but must be {expected}")
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, but must be on {x.device}, as x is")


def _on_torch(
    kind: str,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    shape: tuple[int, ...],
    eps: float,
    zero_centered: bool,
    rounding: str,
) -> tuple[Tensor, Tensor]:
    """The same by torch's own operators, for devices that Triton does not reach."""
    total = x if residual is None else (x.to(kept := accumulation(x.dtype)) + residual.to(kept))
    total = total.to(x.dtype)
    values = total.to(accumulation(x.dtype))
    if kind == "layer":
        y = functional.layer_norm(values, shape, eps=eps)
    elif kind == "rms":
        y = functional.rms_norm(values, shape, eps=eps)
    else:
        y = functional.normalize(values, dim=-1, eps=eps)
    if rounding == "cast_then_scale":
        y = y.to(x.dtype).to(y.dtype)
    if weight is not None:
        y = y * (weight.to(y.dtype) + (1 if zero_centered else 0))
    if bias is not None:
        y = y + bias.to(y.dtype)
    return y.to(x.dtype), total
