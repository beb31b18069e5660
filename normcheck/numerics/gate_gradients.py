"""The gradient of a gate behind the norm, dz = dy h silu'(z), under every rounding policy."""

from __future__ import annotations

from torch import Tensor

from normcheck.numerics.acceptance import Interval, around, rounded_product
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate import Gate
from normcheck.numerics.output_intervals import interval_product, ungated_intervals
from normcheck.numerics.reading import Reading
from normcheck.numerics.rounding_policy import FUSED

__all__ = ["gate_gradients", "lost_products", "slope_ends"]


def slope_ends(gate: Gate) -> Interval:
    """Return the values that a correct silu'(z) may have."""
    return Interval(gate.slope - gate.slope_error, gate.slope + gate.slope_error)


def lost_products(exact: ExactPiece, accumulation: FloatFormat) -> Tensor:
    """What three products may lose below the normal numbers before they are multiplied by z."""
    assert exact.gate is not None, "asked for beside a gate only"
    return 3.0 * accumulation.smallest_subnormal * (1.0 + exact.gate.size)


def gate_gradients(
    exact: ExactPiece,
    dy: Tensor,
    reading: Reading,
    fmt: FloatFormat,
    narrow: FloatFormat | None,
    accumulation: FloatFormat,
) -> dict[str, tuple[Tensor | DoubleDouble, Interval]]:
    """Return per policy the exact dz and its accepted values.

    Args:
        exact: The piece, with a gate behind the norm.
        dy: The view's shape, float64.
        reading: What is rounded before and after the norm.
        fmt: Format of dz.
        narrow: As of `output_intervals`.
        accumulation: The format whose roundoff is granted.
    """
    gate = exact.behind
    assert gate is not None, "asked for behind the norm only"
    h, u = exact.forward.output, accumulation.unit_roundoff
    value: Tensor | DoubleDouble = dy * h * gate.slope
    if exact.wide is not None and gate.wide_slope is not None:
        value = exact.wide.output * dy * gate.wide_slope
    steep = gate.slope.abs() + gate.slope_error
    delta = dy.abs() * (exact.ungated * steep + h.abs() * gate.slope_error)
    delta = delta + 4 * u * (dy * h * gate.slope).abs() + lost_products(exact, accumulation)
    found: dict[str, tuple[Tensor | DoubleDouble, Interval]] = {}
    if not reading.rounds_norm:
        found[FUSED] = (value, around(value, delta, fmt))
    if narrow is None:
        return found
    half = exact.problem.narrow
    for name, work_out in ungated_intervals(exact, reading, accumulation).items():
        if name in found:
            continue
        incoming = rounded_product(work_out(), dy)
        if reading.rounds_gate:
            incoming = incoming.rounded(half)
        ends = interval_product(incoming, slope_ends(gate), accumulation)
        # The slope's own factors meet dy in another order in some forms: two roundings more.
        slack = 3 * u * dy.abs() * h.abs() * steep + lost_products(exact, accumulation)
        ends = ends.widened(slack)
        found[name] = (value, ends.rounded(fmt))
    return found
