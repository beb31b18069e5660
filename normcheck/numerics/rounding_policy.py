"""Legitimate places to round: each turns exact quantities and budgets into accepted values.

A policy never widens a tolerance: the interval of `acceptance.around` is pushed through each of
its roundings. ``fused`` rounds once, at the end. The others round to the input format on the way,
as Llama's and T5's RMSNorm do and as the function body of ONNX's LayerNormalization says. They only
differ from ``fused`` where the input format is narrower than the accumulation format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around, rounded_product, rounded_sum
from normcheck.numerics.budget import ForwardBudget
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reference import Forward
from normcheck.numerics.rounding import round_to

__all__ = ["FUSED", "OUTPUT_POLICIES", "WEIGHT_GRADIENT_POLICIES", "Affine", "TermInterval"]

FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Affine:
    """What follows the normalised value, and the formats on the way; tensors are float64.

    Attributes:
        weight: Broadcastable to the view, the offset included; None for one.
        bias: Broadcastable to the view; None for zero.
        narrow: The input's format, to which a policy rounds on the way.
        output: The output's format; None to leave the value as it is before it is rounded to one.
        u: Unit roundoff of the accumulation format.
        product_error: Relative error of the product with the weight before a policy rounds it:
            0 for half-precision weights, whose products float32 holds exactly.
    """

    weight: Tensor | None
    bias: Tensor | None
    narrow: FloatFormat
    output: FloatFormat | None
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


def _stored(value: Interval, affine: Affine) -> Interval:
    """Round to the output's format."""
    return value if affine.output is None else value.rounded(affine.output)


def _normalised(forward: Forward[Tensor], budget: ForwardBudget, narrow: FloatFormat) -> Interval:
    return around(forward.normalised, budget.normalised, narrow)


def _cast_then_scale(forward: Forward[Tensor], budget: ForwardBudget, affine: Affine) -> Interval:
    """Round the normalised value, then scale and shift, then round once more."""
    value = _product(_normalised(forward, budget, affine.narrow), affine)
    if affine.bias is not None:
        # Products of half-precision numbers are exact in float32; the sum with a bias is not.
        slack = 2 * affine.u * (value.upper.abs() + affine.bias.abs())
        value = rounded_sum(value, affine.bias).widened(slack)
    return _stored(value, affine)


def _cast_each_step(forward: Forward[Tensor], budget: ForwardBudget, affine: Affine) -> Interval:
    """Round the normalised value, its product with the weight, and the sum with the bias."""
    value = _product(_normalised(forward, budget, affine.narrow), affine).rounded(affine.narrow)
    if affine.bias is not None:
        value = rounded_sum(value, affine.bias)
    return _stored(value, affine)


def _cast_factor(forward: Forward[Tensor], budget: ForwardBudget, affine: Affine) -> Interval:
    """Round 1 + weight as well: a modulation written in the input's format."""
    assert affine.weight is not None, "offered only where a weight is offset"
    factor = round_to(affine.weight, affine.narrow)
    exact = replace(affine, weight=factor, product_error=0.0)
    return _cast_each_step(forward, budget, exact)


# Tried in this order on outputs; `fused` itself needs no entry.
OUTPUT_POLICIES: dict[str, Callable[[Forward[Tensor], ForwardBudget, Affine], Interval]] = {
    "cast_then_scale": _cast_then_scale,
    "cast_each_step": _cast_each_step,
    "cast_factor": _cast_factor,
}


@dataclass(frozen=True, slots=True)
class TermInterval:
    """Terms of a weight gradient under a policy: their middle and how far they may be off."""

    middle: Tensor
    radius: Tensor


def _term(
    forward: Forward[Tensor],
    budget: ForwardBudget,
    dy: Tensor,
    narrow: FloatFormat,
    dy_error: Tensor | None,
) -> Interval:
    """Dy, which may be off itself behind a gate, times the rounded normalised value."""
    value = _normalised(forward, budget, narrow)
    ends = rounded_product(value, dy)
    if dy_error is None:
        return ends
    return ends.widened(dy_error * torch.maximum(value.lower.abs(), value.upper.abs()))


def _cast_normalised(
    forward: Forward[Tensor],
    budget: ForwardBudget,
    dy: Tensor,
    narrow: FloatFormat,
    dy_error: Tensor | None = None,
) -> TermInterval:
    """Dy times the rounded normalised value."""
    ends = _term(forward, budget, dy, narrow, dy_error)
    return TermInterval((ends.lower + ends.upper) / 2, (ends.upper - ends.lower) / 2)


def _cast_product(
    forward: Forward[Tensor],
    budget: ForwardBudget,
    dy: Tensor,
    narrow: FloatFormat,
    dy_error: Tensor | None = None,
) -> TermInterval:
    """Dy times the rounded normalised value, the product rounded too: autograd of Llama's form."""
    ends = _term(forward, budget, dy, narrow, dy_error).rounded(narrow)
    return TermInterval((ends.lower + ends.upper) / 2, (ends.upper - ends.lower) / 2)


WEIGHT_GRADIENT_POLICIES: dict[
    str,
    Callable[[Forward[Tensor], ForwardBudget, Tensor, FloatFormat, Tensor | None], TermInterval],
] = {
    "cast_then_scale": _cast_product,
    "cast_normalised": _cast_normalised,
}
