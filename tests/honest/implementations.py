"""Normalizations written the ways that people write them, each of them right.

All accumulate in float32, or in float64 for float64 inputs, and round where their name says.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

LANES = 32
Shape = tuple[int, ...]


def wide(x: Tensor) -> Tensor:
    """Convert to the format in which sums are kept."""
    return x if x.dtype == torch.float64 else x.float()


def trailing(shape: Shape) -> list[int]:
    return list(range(-len(shape), 0))


def scaled(value: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Apply weight and bias in the format of ``value``."""
    if weight is not None:
        value = value * weight.to(value.dtype)
    return value if bias is None else value + bias.to(value.dtype)


def standardised(x: Tensor, over: list[int], eps: float) -> Tensor:
    """Two passes over the data: the mean, then the mean square of the deviations."""
    deviation = x - x.mean(over, keepdim=True)
    variance = deviation.square().mean(over, keepdim=True)
    return deviation * torch.rsqrt(variance + eps)


def layer_norm_two_pass(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    normalised = standardised(wide(x), trailing(normalized_shape), eps)
    return scaled(normalised, weight, bias).to(x.dtype)


def layer_norm_in_float64(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    normalised = standardised(x.double(), trailing(normalized_shape), eps)
    return scaled(normalised, weight, bias).to(x.dtype)


def layer_norm_scale_and_shift(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """x * a + b, as inference kernels fold the statistics into one multiply-add."""
    values, over = wide(x), trailing(normalized_shape)
    mean = values.mean(over, keepdim=True)
    variance = (values - mean).square().mean(over, keepdim=True)
    a = torch.rsqrt(variance + eps)
    if weight is not None:
        a = a * weight.to(a.dtype)
    b = -mean * a
    if bias is not None:
        b = b + bias.to(b.dtype)
    return (values * a + b).to(x.dtype)


def layer_norm_cast_then_scale(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The normalised value is rounded to the input's format before it is scaled."""
    normalised = standardised(wide(x), trailing(normalized_shape), eps).to(x.dtype)
    return scaled(wide(normalised), weight, bias).to(x.dtype)


def layer_norm_cast_each_step(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The function body of ONNX's LayerNormalization: scale and bias act in the input's format."""
    normalised = standardised(wide(x), trailing(normalized_shape), eps).to(x.dtype)
    return scaled(normalised, weight, bias)


def merged(
    first: tuple[Tensor, Tensor, Tensor], second: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge counts, means and sums of squared deviations: Chan, Golub, LeVeque, 1979."""
    (n, mean, square), (m, other, other_square) = first, second
    total = n + m
    share = torch.where(total > 0, m / total.clamp_min(1), 0.0)
    delta = other - mean
    return total, mean + delta * share, square + other_square + delta * delta * n * share


def welford(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each row: 32 Welford lanes, merged as a tree."""
    rows, columns = values.shape
    n = values.new_zeros(LANES)
    mean, square = values.new_zeros(rows, LANES), values.new_zeros(rows, LANES)
    for start in range(0, columns, LANES):
        chunk = values[:, start : start + LANES]
        width = chunk.shape[1]
        n[:width] += 1
        delta = chunk - mean[:, :width]
        mean[:, :width] += delta / n[:width]
        square[:, :width] += delta * (chunk - mean[:, :width])
    state = n, mean, square
    while state[0].numel() > 1:
        half = state[0].numel() // 2
        first, second = zip(*((t[..., :half], t[..., half:]) for t in state), strict=True)
        state = merged(first, second)
    return state[1], state[2] / max(columns, 1)


class _Welford(torch.autograd.Function):
    """A kernel's own backward pass from saved statistics, as every fused kernel has one."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, eps: float) -> Tensor:
        mean, variance = welford(values)
        root = torch.rsqrt(variance + eps)
        normalised = (values - mean) * root
        ctx.save_for_backward(normalised, root)
        return normalised

    @staticmethod
    @once_differentiable  # statistics are saved as constants
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[Tensor, None]:
        normalised, root = ctx.saved_tensors  # type: ignore[attr-defined]  # set by autograd
        projected = (g * normalised).mean(1, keepdim=True)
        return root * (g - g.mean(1, keepdim=True) - normalised * projected), None


def layer_norm_welford(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    columns = math.prod(normalized_shape)
    rows = x.numel() // max(columns, 1)
    normalised: Tensor = _Welford.apply(wide(x).reshape(rows, columns), eps)  # type: ignore[no-untyped-call]
    return scaled(normalised.reshape(x.shape), weight, bias).to(x.dtype)


def layer_norm_into(
    out: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> None:
    """Destination-passing: the caller allocates the output."""
    out.copy_(layer_norm_two_pass(x, x.shape[-1:], weight, bias, eps))


def layer_norm_in_place(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
    """Writes the output over x, which has to be declared."""
    x.copy_(layer_norm_two_pass(x, x.shape[-1:], weight, bias, eps))


def inverse_rms(x: Tensor, over: list[int], eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(over, keepdim=True) + eps)


def rms_norm_two_pass(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, eps: float
) -> Tensor:
    values = wide(x)
    normalised = values * inverse_rms(values, trailing(normalized_shape), eps)
    return scaled(normalised, weight, None).to(x.dtype)


def rms_norm_llama(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Rounds the normalised value, then multiplies in the format of the weight."""
    values = wide(x)
    return scaled((values * inverse_rms(values, [-1], eps)).to(x.dtype), weight, None)


def rms_norm_t5(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """The variance is wide; its product with x is, by promotion; the weight acts after a cast."""
    root = inverse_rms(wide(x), [-1], eps)
    return scaled((x * root).to(x.dtype), weight, None)


def rms_norm_gemma(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Multiplies by 1 + weight, formed wide, and rounds once; policy ``weight=one_plus``."""
    values = wide(x)
    normalised = values * inverse_rms(values, [-1], eps)
    factor = 1.0 if weight is None else 1.0 + wide(weight)
    return (normalised * factor).to(x.dtype)


def rms_norm_into(y: Tensor, x: Tensor, weight: Tensor | None, eps: float) -> None:
    y.copy_(rms_norm_two_pass(x, x.shape[-1:], weight, eps))


def add_rms_norm_unrounded(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """The norm reads the sum before it is rounded to be returned."""
    total = wide(x) + wide(residual)
    normalised = total * inverse_rms(total, [-1], eps)
    return scaled(normalised, weight, None).to(x.dtype), total.to(x.dtype)


def add_rms_norm_rounded(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """The norm reads the sum that it returns."""
    total = x + residual
    return rms_norm_two_pass(total, x.shape[-1:], weight, eps), total


def add_rms_norm_in_place(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float) -> None:
    """The output goes to x and the sum to residual, as in vLLM's fused kernel."""
    y, total = add_rms_norm_rounded(x, residual, weight, eps)
    x.copy_(y)
    residual.copy_(total)


def add_layer_norm_unrounded(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    total = wide(x) + wide(residual)
    normalised = standardised(total, [-1], eps)
    return scaled(normalised, weight, bias).to(x.dtype), total.to(x.dtype)


def add_layer_norm_rounded(
    x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    total = x + residual
    return layer_norm_two_pass(total, x.shape[-1:], weight, bias, eps), total


def l2_norm_two_pass(x: Tensor, eps: float) -> Tensor:
    # The floor goes below the root, whose derivative at zero is infinite.
    values = wide(x)
    square = values.square().sum(-1, keepdim=True)
    return (values * square.clamp_min(eps * eps).rsqrt()).to(x.dtype)


def l2_norm_functional(x: Tensor, eps: float) -> Tensor:
    return functional.normalize(x, dim=-1, eps=eps)
