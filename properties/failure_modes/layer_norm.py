"""Layer norms that are wrong in one way each; everything else about them is right."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _dims(shape: Shape) -> list[int]:
    return list(range(-len(shape), 0))


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(dtype)


def _moments(x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    mean = x.mean(_dims(shape), keepdim=True)
    return mean, (x - mean).square().mean(_dims(shape), keepdim=True)


def one_pass_variance(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h, dims = _wide(x), _dims(normalized_shape)
    mean = h.mean(dims, keepdim=True)
    variance = (h.square().mean(dims, keepdim=True) - mean.square()).clamp_min(0)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def low_precision_statistics(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    mean, variance = _moments(x, normalized_shape)
    return _affine((x - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def rounded_root(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    mean, variance = _moments(h, normalized_shape)
    narrow = torch.bfloat16 if x.dtype == torch.float32 else x.dtype
    root = torch.rsqrt(variance + eps).to(narrow if x.dtype != torch.float64 else torch.float32)
    return _affine((h - mean) * root, weight, bias, x.dtype)


def unbiased_variance(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h, n = _wide(x), math.prod(normalized_shape)
    mean, variance = _moments(h, normalized_shape)
    variance = variance * n / max(n - 1, 1)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def eps_outside(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    mean, variance = _moments(h, normalized_shape)
    return _affine((h - mean) / (variance.sqrt() + eps), weight, bias, x.dtype)


def eps_ignored(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    mean, variance = _moments(h, normalized_shape)
    return _affine((h - mean) * torch.rsqrt(variance + 1e-12), weight, bias, x.dtype)


def padded_lanes(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h, n = _wide(x), math.prod(normalized_shape)
    mean, variance = _moments(h, normalized_shape)
    lanes = 1 << max(n - 1, 0).bit_length()
    # Masked lanes are loaded as zero, centred to -mean, and squared.
    variance = variance + (lanes - n) * mean.square() / max(n, 1)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def _partial(
    x: Tensor, shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float, seen: int
) -> Tensor:
    """Statistics of the first ``seen`` columns."""
    h = _wide(x)
    flat = h.flatten(h.dim() - len(shape))
    part = flat[..., :seen]
    mean = part.mean(-1, keepdim=True)
    variance = (part - mean).square().mean(-1, keepdim=True)
    y = ((flat - mean) * torch.rsqrt(variance + eps)).reshape(h.shape)
    return _affine(y, weight, bias, x.dtype)


def dropped_tail(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    n = math.prod(normalized_shape)
    return _partial(x, normalized_shape, weight, bias, eps, n if n < 32 else n - n % 32)


def truncated_row(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _partial(x, normalized_shape, weight, bias, eps, min(math.prod(normalized_shape), 4096))


def weight_ignored(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _right(x, normalized_shape, None, bias, eps)


def bias_ignored(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _right(x, normalized_shape, weight, None, eps)


def half_squares(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    mean = h.mean(_dims(normalized_shape), keepdim=True)
    squares = (h - mean).to(x.dtype).square()
    variance = _wide(squares).mean(_dims(normalized_shape), keepdim=True)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


def _right(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    h = _wide(x)
    mean, variance = _moments(h, normalized_shape)
    return _affine((h - mean) * torch.rsqrt(variance + eps), weight, bias, x.dtype)


class _Backward(torch.autograd.Function):
    """A right forward with a backward that lacks one thing, named by ``fault``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Any, b: Any, shape: Shape, eps: float, fault: str
    ) -> Tensor:
        h = _wide(x)
        mean, variance = _moments(h, shape)
        root = torch.rsqrt(variance + eps)
        ctx.save_for_backward((h - mean) * root, root, w)
        ctx.shape, ctx.fault, ctx.dtype, ctx.bias = shape, fault, x.dtype, b is not None
        return _affine((h - mean) * root, w, b, x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x_hat, root, w = ctx.saved_tensors
        fault, dims = ctx.fault, _dims(ctx.shape)
        d = _wide(dy)
        g = d if w is None or fault == "weight" else d * w
        mean = 0 if fault == "mean" else g.mean(dims, keepdim=True)
        projected = (g * x_hat).mean(dims, keepdim=True)
        dx = (g - mean - (0 if fault == "projection" else x_hat * projected)) * root
        dx = dx.to(ctx.dtype)
        rows = list(range(dy.dim() - len(dims)))
        terms, ones = d * x_hat, d
        if fault == "sums":
            terms, ones = terms.to(ctx.dtype), ones.to(ctx.dtype)
        dw = None if w is None or fault == "no dw" else _summed(terms, rows, fault).to(ctx.dtype)
        db = _summed(ones, rows, fault).to(ctx.dtype) if ctx.bias else None
        if fault == "dy":
            dy.copy_(dx)
        if fault == "flat":
            dw, db = (None if t is None else t.flatten() for t in (dw, db))
        return dx, dw, db, None, None, None


def _faulty(
    x: Tensor, shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float, fault: str
) -> Tensor:
    y: Tensor = _Backward.apply(x, weight, bias, shape, eps, fault)  # type: ignore[no-untyped-call]
    return y


def _summed(terms: Tensor, rows: list[int], fault: str) -> Tensor:
    if not rows:
        return terms
    if fault != "sums":
        return terms.sum(rows)
    # A running sum in the terms' own dtype: what atomics in half precision amount to.
    return terms.flatten(0, len(rows) - 1).cumsum(0)[-1] if terms.numel() else terms.sum(rows)


def no_mean_term(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "mean")


def no_projection_term(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "projection")


def unweighted_gradient(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "weight")


def low_precision_sums(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "sums")


def missing_weight_gradient(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "no dw")


def flat_parameter_gradients(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "flat")


def overwrites_dy(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _faulty(x, normalized_shape, weight, bias, eps, "dy")


def overwrites_input(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = _right(x, normalized_shape, weight, bias, eps)
    # `.float()` of a float32 tensor is the tensor itself, so this is a bug for float32 only.
    if not x.requires_grad:
        x.float().mul_(0.5)
    return y


def launders_nan(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _right(x, normalized_shape, weight, bias, eps).nan_to_num()


def spreads_nan(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = _right(x, normalized_shape, weight, bias, eps)
    return y + 0.0 * x.sum().isnan() * x.sum()


def promoted_output(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return _wide(_right(x, normalized_shape, weight, bias, eps))


def unstable_bits(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = _right(x, normalized_shape, weight, bias, eps)
    # One ulp up or down, as an order of summation that depends on timing does.
    return torch.nextafter(y, y.new_tensor(random.choice((math.inf, -math.inf))))
