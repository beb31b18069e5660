"""Implementations that a bench meets."""

from __future__ import annotations

import os

from torch import Tensor
from torch.nn import functional


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def layer_norm_without_bias(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, None, eps)


def layer_norm_detached(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return layer_norm(x, weight, bias, eps).detach()


def layer_norm_of_few_columns(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if x.shape[-1] > 8:
        raise ValueError("at most 8 columns\nis all that it can do")
    return layer_norm(x, weight, bias, eps)


def weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    return g * functional.normalize(v, dim=1)


def l2_norm_dies(x: Tensor, eps: float) -> Tensor:
    os._exit(7)
