"""Honest weight, query-key, gated, adaptive and masked norms, written the ways that people do.

Sums are kept in float32, or in float64 for float64 inputs, unless a name says where they round.
"""

import torch
from torch import Tensor
from torch.nn import functional


def wide(x: Tensor) -> Tensor:
    """Convert to the format in which sums are kept."""
    return x if x.dtype == torch.float64 else x.float()


def rms(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def layer(x: Tensor, eps: float) -> Tensor:
    deviation = x - x.mean(-1, keepdim=True)
    return deviation * torch.rsqrt(deviation.square().mean(-1, keepdim=True) + eps)


def weight_norm_two_pass(v: Tensor, g: Tensor) -> Tensor:
    values = wide(v).flatten(1)
    norm = values.square().sum(1, keepdim=True).sqrt()
    return (values / norm * wide(g).flatten(1)).reshape(v.shape).to(v.dtype)


def weight_norm_torch(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """torch's own kernel; it ends the process with SIGFPE where there are no rows."""
    if v.numel() == 0:
        raise ValueError(f"v has shape {tuple(v.shape)}, but must have elements")
    return torch._weight_norm(v.contiguous(), g, dim)


def weight_norm_scaled_magnitude(v: Tensor, g: Tensor) -> Tensor:
    """One factor per row, g / norm, then one product per element."""
    values = wide(v)
    over = list(range(1, v.dim()))
    factor = wide(g) * torch.rsqrt(values.square().sum(over, keepdim=True))
    return (values * factor).to(v.dtype)


def scaled(value: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    if weight is not None:
        value = value * weight.to(value.dtype)
    return value if bias is None else value + bias.to(value.dtype)


def qk_norm_fused(
    q: Tensor, k: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    return (
        scaled(rms(wide(q), eps), q_weight).to(q.dtype),
        scaled(rms(wide(k), eps), k_weight).to(k.dtype),
    )


def qk_norm_transformers(
    query: Tensor, key: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Qwen3's: the normalised heads are rounded before they are scaled."""
    return (
        scaled(rms(wide(query), eps).to(query.dtype), q_weight),
        scaled(rms(wide(key), eps).to(key.dtype), k_weight),
    )


def qk_norm_one_plus(
    q: Tensor, k: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """Gemma 3's; policy ``weight=one_plus``."""
    first = None if q_weight is None else 1.0 + wide(q_weight)
    second = None if k_weight is None else 1.0 + wide(k_weight)
    return (
        scaled(rms(wide(q), eps), first).to(q.dtype),
        scaled(rms(wide(k), eps), second).to(k.dtype),
    )


def qk_norm_into(
    q_out: Tensor,
    k_out: Tensor,
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    eps: float,
) -> None:
    """Destination-passing: the caller allocates both outputs."""
    first, second = qk_norm_fused(q, k, q_weight, k_weight, eps)
    q_out.copy_(first)
    k_out.copy_(second)


def qk_norm_in_place(
    q: Tensor, k: Tensor, q_weight: Tensor | None, k_weight: Tensor | None, eps: float
) -> None:
    """Writes over q and k, which has to be declared."""
    first, second = qk_norm_fused(q, k, q_weight, k_weight, eps)
    q.copy_(first)
    k.copy_(second)


def qk_layer_norm_fused(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    q_bias: Tensor | None,
    k_bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    return (
        scaled(layer(wide(q), eps), q_weight, q_bias).to(q.dtype),
        scaled(layer(wide(k), eps), k_weight, k_bias).to(k.dtype),
    )


def qk_layer_norm_stepwise(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    q_bias: Tensor | None,
    k_bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Scale and shift act in the input's format."""
    return (
        scaled(layer(wide(q), eps).to(q.dtype), q_weight, q_bias),
        scaled(layer(wide(k), eps).to(k.dtype), k_weight, k_bias),
    )


def qk_l2_norm_floor(q: Tensor, k: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    def one(x: Tensor) -> Tensor:
        values = wide(x)
        square = values.square().sum(-1, keepdim=True)
        return (values * square.clamp_min(eps * eps).rsqrt()).to(x.dtype)

    return one(q), one(k)


def qk_l2_norm_inside(q: Tensor, k: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The delta rule's: eps below the root; policy ``eps=inside``."""

    def one(x: Tensor) -> Tensor:
        values = wide(x)
        return (values * torch.rsqrt(values.square().sum(-1, keepdim=True) + eps)).to(x.dtype)

    return one(q), one(k)


def grouped(x: Tensor, group_size: int) -> Tensor:
    return x.reshape(*x.shape[:-1], x.shape[-1] // group_size, group_size)


def rms_norm_gated_fused(
    x: Tensor, z: Tensor, weight: Tensor | None, group_size: int, eps: float
) -> Tensor:
    """Mamba-2's reference with the gate after the norm: everything wide, rounded once."""
    normalised = rms(grouped(wide(x), group_size), eps).reshape(x.shape)
    return (scaled(normalised, weight) * functional.silu(wide(z))).to(x.dtype)


def rms_norm_gated_qwen3_next(x: Tensor, gate: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Qwen3-Next's: rounds the normalised value and its product with the weight, not the gate."""
    normalised = scaled(rms(wide(x), eps).to(x.dtype), weight)
    return (normalised * functional.silu(wide(gate))).to(x.dtype)


def rms_norm_gated_stepwise(x: Tensor, g: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """A norm, then a gate, each in the input's format."""
    normalised = scaled(rms(wide(x), eps), weight).to(x.dtype)
    return normalised * functional.silu(g)


class _Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor) -> Tensor:
        sigma = 1.0 / (1.0 + torch.exp2(z * -1.4426950408889634))
        ctx.save_for_backward(z, sigma)
        return z * sigma

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, ds: Tensor) -> Tensor:
        z, sigma = ctx.saved_tensors  # type: ignore[attr-defined]  # set by autograd
        value: Tensor = ds * (sigma + z * sigma * (1.0 - sigma))
        return value


def rms_norm_gated_by_exponential(
    x: Tensor, z: Tensor, weight: Tensor | None, eps: float
) -> Tensor:
    """The gate as kernels write it: a power of two of z log2(e), a quotient, its own backward."""
    gate: Tensor = _Silu.apply(wide(z))  # type: ignore[no-untyped-call]
    return (scaled(rms(wide(x), eps), weight) * gate).to(x.dtype)


def rms_norm_gated_by_sigmoid(x: Tensor, z: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """z times sigmoid(z), through autograd."""
    values = wide(z)
    return (scaled(rms(wide(x), eps), weight) * (values * values.sigmoid())).to(x.dtype)


def rms_norm_gated_before(
    x: Tensor, z: Tensor, weight: Tensor | None, group_size: int, eps: float
) -> Tensor:
    """Mamba-2's own layer: the gate first; policy ``gate=before``."""
    product = grouped(wide(x) * functional.silu(wide(z)), group_size)
    return scaled(rms(product, eps).reshape(x.shape), weight).to(x.dtype)


def rms_norm_gated_before_llama(
    x: Tensor, gate: Tensor, weight: Tensor | None, eps: float
) -> Tensor:
    """Transformers' Mamba-2: gate first and wide, then as Llama; policy ``gate=before``."""
    product = wide(x) * functional.silu(wide(gate))
    return scaled(rms(product, eps).to(x.dtype), weight)


def rms_norm_gated_before_stepwise(
    x: Tensor, z: Tensor, weight: Tensor | None, eps: float
) -> Tensor:
    """The gated product in the input's format; policy ``gate=before``."""
    return scaled(rms(wide(x * functional.silu(z)), eps), weight).to(x.dtype)


def rms_norm_gated_one_plus(x: Tensor, z: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Policy ``weight=one_plus``."""
    factor = None if weight is None else 1.0 + wide(weight)
    return (scaled(rms(wide(x), eps), factor) * functional.silu(wide(z))).to(x.dtype)


def ada_layer_norm_fused(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    factor, offset = 1.0 + wide(scale)[:, None], wide(shift)[:, None]
    return (layer(wide(x), eps) * factor + offset).to(x.dtype)


def ada_layer_norm_modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Diffusers' and DiT's: the norm is rounded, and the modulation acts in the input's format."""
    normalised = layer(wide(x), eps).to(x.dtype)
    return normalised * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def ada_layer_norm_functional(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The same around torch's layer norm, in float32 or wider."""
    normalised = functional.layer_norm(wide(x), x.shape[-1:], None, None, eps)
    return (normalised * (1 + wide(scale)[:, None]) + wide(shift)[:, None]).to(x.dtype)


def ada_layer_norm_plain(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Multiplies by the scale itself; policy ``weight=plain``."""
    return (layer(wide(x), eps) * wide(scale)[:, None] + wide(shift)[:, None]).to(x.dtype)
