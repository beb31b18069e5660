"""Legitimate places to round: each turns exact quantities and budgets into accepted values.

A policy never widens a tolerance: the interval of `acceptance.around` is pushed through each of
its roundings. ``fused`` rounds once, at the end. The others round to the input format on the way,
as Llama's and T5's RMSNorm do and as the function body of ONNX's LayerNormalization says. They only
differ from ``fused`` where the input format is narrower than the accumulation format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around, rounded_product, rounded_sum
from normcheck.numerics.budget import ForwardBudget
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reference import Forward

__all__ = ["FUSED", "OUTPUT_POLICIES", "WEIGHT_GRADIENT_POLICIES", "Affine", "TermInterval"]

FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Affine:
    """What follows the normalised value, and the formats on the way; tensors are float64.

    Attributes:
        weight: Broadcastable to the view, the offset included; None for one.
        bias: Broadcastable to the view; None for zero.
        narrow: The input's format, to which a policy rounds on the way.
        output: The output's format.
        u: Unit roundoff of the accumulation format.
        product_error: Relative error of the product with the weight before a policy rounds it:
            0 for half-precision weights, whose products float32 holds exactly.
    """

    weight: Tensor | None
    bias: Tensor | None
    narrow: FloatFormat
    output: FloatFormat
    u: float
    product_error: float = 0.0


def _product(value: Interval, affine: Affine) -> Interval:
    """Multiply by the weight in the accumulation format."""
    if affine.weight is None:
        return value
    product = rounded_product(value, affine.weight)
    if not affine.product_error:
        return product
    size = affine.product_error * torch.maximum(product.lower.abs(), product.upper.abs())
    return product.widened(size)


def _normalised(forward: Forward[Tensor], budget: ForwardBudget, narrow: FloatFormat) -> Interval:
    return around(forward.normalised, budget.normalised, narrow)


def _cast_then_scale(forward: Forward[Tensor], budget: ForwardBudget, affine: Affine) -> Interval:
    """Round the normalised value, then scale and shift, then round once more."""
    value = _product(_normalised(forward, budget, affine.narrow), affine)
    if affine.bias is not None:
        # Products of half-precision numbers are exact in float32; the sum with a bias is not.
        slack = 2 * affine.u * (value.upper.abs() + affine.bias.abs())
        value = rounded_sum(value, affine.bias).widened(slack)
    return value.rounded(affine.output)


def _cast_each_step(forward: Forward[Tensor], budget: ForwardBudget, affine: Affine) -> Interval:
    """Round the normalised value, its product with the weight, and the sum with the bias."""
    value = _product(_normalised(forward, budget, affine.narrow), affine).rounded(affine.narrow)
    if affine.bias is not None:
        value = rounded_sum(value, affine.bias)
    return value.rounded(affine.output)


# Tried in this order on outputs; `fused` itself needs no entry.
OUTPUT_POLICIES: dict[str, Callable[[Forward[Tensor], ForwardBudget, Affine], Interval]] = {
    "cast_then_scale": _cast_then_scale,
    "cast_each_step": _cast_each_step,
}


@dataclass(frozen=True, slots=True)
class TermInterval:
    """Terms of a weight gradient under a policy: their middle and how far they may be off."""

    middle: Tensor
    radius: Tensor


def _cast_normalised(
    forward: Forward[Tensor], budget: ForwardBudget, dy: Tensor, narrow: FloatFormat
) -> TermInterval:
    """Dy times the rounded normalised value."""
    ends = rounded_product(_normalised(forward, budget, narrow), dy)
    return TermInterval((ends.lower + ends.upper) / 2, (ends.upper - ends.lower) / 2)


def _cast_product(
    forward: Forward[Tensor], budget: ForwardBudget, dy: Tensor, narrow: FloatFormat
) -> TermInterval:
    """Dy times the rounded normalised value, the product rounded too: autograd of Llama's form."""
    ends = rounded_product(_normalised(forward, budget, narrow), dy).rounded(narrow)
    return TermInterval((ends.lower + ends.upper) / 2, (ends.upper - ends.lower) / 2)


WEIGHT_GRADIENT_POLICIES: dict[
    str, Callable[[Forward[Tensor], ForwardBudget, Tensor, FloatFormat], TermInterval]
] = {
    "cast_then_scale": _cast_product,
    "cast_normalised": _cast_normalised,
}
