"""Gradients of what enters the norm: x, a residual, and a gate before it, under every policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import Interval, around, rounded_product, rounded_sum
from normcheck.numerics.budget import GradientBudget, backward_budget
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate_gradients import lost_products, slope_ends
from normcheck.numerics.output_intervals import gate_ends, interval_product, product_error
from normcheck.numerics.reading import Reading
from normcheck.numerics.reference import Gradients, differentiate
from normcheck.numerics.rounding import round_to
from normcheck.numerics.rounding_policy import FUSED

__all__ = ["Entering", "input_gradients"]

Found = tuple[str, str, Tensor | DoubleDouble, Interval, Tensor]
"""Name of the input, policy, exact gradient, accepted values, and which elements are judged."""


@dataclass(frozen=True, slots=True)
class Entering:
    """The gradient that enters the norm's own backward pass: dy, or dy times the gate behind it.

    Attributes:
        dy: The view's shape, float64.
        wide: The same in double-double where it is no float64 number.
        error: The view's shape: how far it may be off; None for not at all.
    """

    dy: Tensor
    wide: DoubleDouble | None = None
    error: Tensor | None = None

    @classmethod
    def of(
        cls, exact: ExactPiece, dy: Tensor, reading: Reading, accumulation: FloatFormat
    ) -> Entering:
        """Multiply by the gate, rounded as a reading says."""
        gate = exact.behind
        if gate is None:
            return cls(dy)
        narrow = exact.problem.narrow
        if reading.rounds_norm:
            ends = rounded_product(gate_ends(gate, reading, narrow), dy)
            slack = accumulation.unit_roundoff * (dy * gate.value).abs()
            ends = ends.widened(slack).rounded(narrow)
            return cls((ends.lower + ends.upper) / 2, None, (ends.upper - ends.lower) / 2)
        product = dy * gate.value
        error = dy.abs() * gate.value_error + accumulation.unit_roundoff * product.abs()
        wide = None if gate.wide_value is None else gate.wide_value * dy
        return cls(product, wide, error + accumulation.smallest_subnormal)


@dataclass(frozen=True, slots=True)
class _Norm:
    """The gradient of what enters the norm under one policy."""

    policy: str
    value: Tensor | DoubleDouble
    budget: GradientBudget
    delta: Tensor


def _scaled_error(exact: ExactPiece, entering: Entering) -> Tensor | None:
    """How far g = dy weight may be off because dy is."""
    if entering.error is None or exact.weight is None:
        return entering.error
    return entering.error * (exact.weight + exact.problem.formula.weight_offset).abs()


def _norms(
    exact: ExactPiece,
    gradients: Gradients[Tensor],
    wide: Gradients[DoubleDouble] | None,
    entering: Entering,
    policies: list[str],
    accumulation: FloatFormat,
) -> Iterator[_Norm]:
    """Yield the gradient behind the norm, with g as it is and rounded as policies say."""
    reduction, formula = exact.piece.reduction, exact.problem.formula
    error = _scaled_error(exact, entering)

    def budget_of(found: Gradients[Tensor], own: Tensor | None) -> GradientBudget:
        return backward_budget(
            exact.forward, found, exact.budget, entering.dy, reduction, formula, accumulation, own
        )

    def kept(delta: Tensor) -> Tensor:
        return delta if exact.mask is None else torch.where(exact.mask, delta, 0.0)

    budget = budget_of(gradients, error)
    value: Tensor | DoubleDouble = gradients.x if wide is None else wide.x
    yield _Norm(FUSED, value, budget, kept(budget.x))
    narrow = exact.problem.narrow
    for policy in policies:
        product, factor = gradients.scaled, exact.weight
        slack = product_error(exact.problem, accumulation.unit_roundoff) * product.abs()
        if policy == "cast_factor" and factor is not None:
            product = entering.dy * round_to(factor + formula.weight_offset, narrow)
            slack = torch.zeros_like(product)
        scaled = around(product, slack if error is None else slack + error, narrow)
        middle, own = (scaled.lower + scaled.upper) / 2, (scaled.upper - scaled.lower) / 2
        rounded = differentiate(exact.forward, middle, reduction, formula)
        budget = budget_of(rounded, own)
        dx = rounded.x if exact.mask is None else torch.where(exact.mask, rounded.x, 0.0)
        yield _Norm(policy, dx, budget, kept(budget.x))


def input_gradients(
    exact: ExactPiece,
    gradients: Gradients[Tensor],
    wide: Gradients[DoubleDouble] | None,
    entering: Entering,
    reading: Reading,
    formats: Mapping[str, FloatFormat],
    extra: Tensor | None,
    *,
    narrow: bool,
    excluded: Callable[[str, str], bool],
    accumulation: FloatFormat,
) -> Iterator[Found]:
    """Yield the accepted gradients of every input under every policy that is still open.

    Args:
        exact: The piece.
        gradients: The exact gradients of the norm.
        wide: The same in double-double, for float64 targets.
        entering: What `gradients` were worked out for.
        reading: What is rounded before and after the norm.
        formats: Format of the gradient of each of ``x``, ``residual`` and ``z`` that is judged.
        extra: The view's shape: gradient of the returned residual sum, or None.
        narrow: Whether policies can be told apart.
        excluded: Whether a tensor's policy no longer excuses anything.
        accumulation: The format whose roundoff is granted.
    """

    def dead(policy: str) -> bool:
        label = reading.prefix + policy
        stepwise = extra is None or excluded("grad_x", f"{label}+accumulated")
        return excluded("grad_x", label) and stepwise

    rounding = narrow and exact.weight is not None
    names = ["cast_then_scale"] if rounding else []
    names += ["cast_factor"] if rounding and exact.problem.formula.weight_offset else []
    policies = [name for name in names if not dead(name)]
    for norm in _norms(exact, gradients, wide, entering, policies, accumulation):
        judged = exact.clean & exact.budget.power & norm.budget.in_range
        label = reading.prefix + norm.policy
        for name, fmt in formats.items():
            if exact.gate is not None and exact.problem.gate_first:
                value, accepted = _before(exact, norm, name, reading, fmt, accumulation)
                # Where a gradient on the way is rounded to infinity there is nothing to judge.
                finite = accepted.lower.isfinite() & accepted.upper.isfinite()
                yield name, label, value, accepted, judged & finite
                continue
            for suffix, value, accepted in _added(exact, norm, extra, fmt, accumulation, narrow):
                yield name, label + suffix, value, accepted, judged


def _added(
    exact: ExactPiece,
    norm: _Norm,
    extra: Tensor | None,
    fmt: FloatFormat,
    accumulation: FloatFormat,
    narrow: bool,
) -> Iterator[tuple[str, Tensor | DoubleDouble, Interval]]:
    """Add the gradient of the other branch, before the norm's own is rounded or after."""
    if extra is None:
        yield "", norm.value, around(norm.value, norm.delta, fmt)
        return
    # The terms of dx may be added onto the other branch's gradient one by one.
    partial = extra.abs() + exact.forward.root * norm.budget.terms
    delta = norm.delta + 3 * accumulation.unit_roundoff * partial
    total = norm.value + extra
    yield "", total, around(total, delta, fmt)
    if narrow:
        # Autograd adds the other branch after rounding the norm's own gradient.
        stepwise = rounded_sum(around(norm.value, norm.delta, fmt), extra).rounded(fmt)
        yield "+accumulated", total, stepwise


def _before(
    exact: ExactPiece,
    norm: _Norm,
    name: str,
    reading: Reading,
    fmt: FloatFormat,
    accumulation: FloatFormat,
) -> tuple[Tensor | DoubleDouble, Interval]:
    """Return the gradient of x or z through the gated product p = x silu(z).

    dx = dp s and dz = dp x silu'(z), with the budget of dp and that of the gate; where p was
    rounded to the input's format, so are dp, the gate and dp x.
    """
    gate, u = exact.gate, accumulation.unit_roundoff
    assert gate is not None, "asked for before the norm only"
    is_gate = name == "z"
    factor, error = (gate.slope, gate.slope_error) if is_gate else (gate.value, gate.value_error)
    dp = norm.value.double() if isinstance(norm.value, DoubleDouble) else norm.value
    value: Tensor | DoubleDouble = dp * factor * exact.source if is_gate else dp * factor
    if isinstance(norm.value, DoubleDouble) and gate.wide_value is not None:
        assert gate.wide_slope is not None, "worked out together"
        value = norm.value * (gate.wide_slope if is_gate else gate.wide_value)
        # Last, so that what a tiny x loses is not multiplied by anything.
        value = value * exact.source if is_gate else value
    if not reading.rounds_gate:
        delta = norm.delta * (factor.abs() + error) + dp.abs() * error
        delta = delta + 4 * u * (dp * factor).abs()
        # Last, here too: the error of a slope times a subnormal x would be zero.
        delta = delta * exact.source.abs() if is_gate else delta
        delta = delta + lost_products(exact, accumulation)
        return value, around(value, delta, fmt)
    narrow = exact.problem.narrow
    ends = around(dp, norm.delta, narrow)
    if not is_gate:
        product = interval_product(ends, gate_ends(gate, reading, narrow), accumulation)
        return value, product.rounded(fmt)
    ends = rounded_product(ends, exact.source).rounded(narrow)
    product = interval_product(ends, slope_ends(gate), accumulation)
    slack = 3 * u * (dp * factor).abs() + lost_products(exact, accumulation)
    return value, product.widened(slack).rounded(fmt)
