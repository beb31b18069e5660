"""Two-pass LayerNorm compiled by Inductor: fused loops whose order of summation is its own."""

import math

import torch
import torch._dynamo.config
from torch import Tensor


def _two_pass(x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor) -> Tensor:
    values = x if x.dtype == torch.float64 else x.float()
    deviation = values - values.mean(1, keepdim=True)
    variance = deviation.square().mean(1, keepdim=True)
    normalised = deviation * torch.rsqrt(variance + eps.to(values.dtype))
    return (normalised * weight + bias).to(x.dtype)


# Formats, gradients on and off, single rows and columns: past its limit torch would refuse.
_compiled = torch.compile(_two_pass, fullgraph=True, dynamic=True)


def _or_constant(parameter: Tensor | None, constant: Tensor) -> Tensor:
    if parameter is None:
        return constant.requires_grad_(torch.is_grad_enabled())
    return parameter.reshape(constant.shape)


def layer_norm_compiled(
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    # Two dimensions and no absent tensor: every variant would be compiled anew.
    columns = math.prod(normalized_shape)
    rows = x.numel() // max(columns, 1)
    weight = _or_constant(weight, x.new_ones(columns))
    bias = _or_constant(bias, x.new_zeros(columns))
    rows_first = x.reshape(rows, columns).contiguous()
    epsilon = torch.tensor(eps, dtype=torch.float64)
    with torch._dynamo.config.patch(recompile_limit=256):
        return _compiled(rows_first, weight, bias, epsilon).reshape(x.shape)
