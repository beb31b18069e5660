"""Exact quantities and budgets of one piece of a case, under one reading of its input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import around, rounded_product
from normcheck.numerics.budget import ForwardBudget, forward_budget
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate import Gate
from normcheck.numerics.problem import Problem
from normcheck.numerics.reduction import Piece
from normcheck.numerics.reference import Forward, Gradients, differentiate, normalise
from normcheck.numerics.rounding import round_to

__all__ = ["ExactPiece", "all_over"]


def all_over(mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Logical and over ``axes``, kept as 1."""
    for axis in axes:
        mask = mask.all(axis, keepdim=True)
    return mask


@dataclass(frozen=True, slots=True)
class _Entering:
    """What enters the norm: float64, in double-double for float64 inputs, and its error."""

    x: Tensor
    wide: DoubleDouble | None
    error: Tensor | None = None

    def added(
        self, residual: Tensor, accumulation: FloatFormat, stored: FloatFormat | None
    ) -> _Entering:
        """Add a residual; ``stored`` is the format that the sum is rounded to, if it is."""
        x = self.x + residual
        if stored is not None:
            x = round_to(x, stored)
            return _Entering(x, None if self.wide is None else DoubleDouble.of(x))
        wide = None if self.wide is None else self.wide + residual
        return _Entering(x, wide, accumulation.unit_roundoff * x.abs())

    def gated(self, gate: Gate, accumulation: FloatFormat, stored: FloatFormat | None) -> _Entering:
        """Multiply by a gate; ``stored`` is the format that both are rounded to, if they are."""
        if stored is not None:
            ends = around(gate.value, gate.value_error, stored)
            ends = rounded_product(ends, self.x).rounded(stored)
            # Where the gate lies beside a midpoint, either neighbour may have been normalised.
            return _Entering((ends.lower + ends.upper) / 2, None, (ends.upper - ends.lower) / 2)
        x = self.x * gate.value
        error = self.x.abs() * gate.value_error + accumulation.unit_roundoff * x.abs()
        wide = None
        if self.wide is not None and gate.wide_value is not None:
            wide = self.wide * gate.wide_value
        # Four times: products of double-doubles are not exact down there either.
        return _Entering(x, wide, error + 4.0 * accumulation.smallest_subnormal)


def _kept(x: Tensor, mask: Tensor | None) -> Tensor:
    """What does not count is zero, whatever it was."""
    return x if mask is None else torch.where(mask, x, 0.0)


@dataclass(frozen=True, slots=True)
class ExactPiece:
    """What the target should have computed from one piece.

    Attributes:
        problem: The case.
        piece: Where it lies.
        forward: Exact forward quantities, float64; its output is that before a gate.
        wide: The same in double-double, for float64 inputs only.
        budget: Forward budgets; that of the output is that behind a gate.
        weight: Of the piece, float64, or None.
        bias: Of the piece, float64, or None.
        clean: The view's shape or slice shape: nothing but finite numbers came in.
        source: The view's shape: x before a residual or a gate.
        gate: Of the piece, or None.
        ungated: Budget of the output before a gate.
        mask: Of the piece, bool: the elements that count; None for all.
    """

    problem: Problem
    piece: Piece
    forward: Forward[Tensor]
    wide: Forward[DoubleDouble] | None
    budget: ForwardBudget
    weight: Tensor | None
    bias: Tensor | None
    clean: Tensor
    source: Tensor
    gate: Gate | None
    ungated: Tensor
    mask: Tensor | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        piece: Piece,
        accumulation: FloatFormat,
        *,
        rounded: bool,
        stored: FloatFormat | None = None,
    ) -> ExactPiece:
        """Work out one piece.

        Args:
            problem: The case.
            piece: Where it lies.
            accumulation: The format whose roundoff is granted.
            rounded: Whether what enters the norm, a residual sum or a gated product, is rounded.
            stored: To which format, if not the input's: that of a residual sum as it is returned.
        """
        fmt = FloatFormat.of(problem.x.dtype)
        mask = None if problem.mask is None else piece.take(problem.mask)
        source = _kept(piece.take(problem.x).double(), mask)
        gate = _gate(problem, piece, accumulation)
        entering = _Entering(source, DoubleDouble.of(source) if _is_wide(fmt) else None)
        stored = (stored or fmt) if rounded else None
        if problem.residual is not None:
            residual = piece.take(problem.residual).double()
            entering = entering.added(residual, accumulation, stored)
        if gate is not None and problem.gate_first:
            entering = entering.gated(gate, accumulation, stored)
        weight, bias = (_parameter(t, piece) for t in (problem.weight, problem.bias))
        fixed = None
        if problem.fixed is not None:
            fixed = (piece.take(problem.fixed[0]).double(), piece.take(problem.fixed[1]).double())
        formula, reduction = problem.formula, piece.reduction
        counted = None if mask is None else mask.double()
        forward = normalise(entering.x, reduction, formula, weight, bias, fixed, counted)
        wide = None
        if entering.wide is not None:
            given = (
                None if fixed is None else (DoubleDouble.of(fixed[0]), DoubleDouble.of(fixed[1]))
            )
            w, b = (None if t is None else DoubleDouble.of(t) for t in (weight, bias))
            wide = normalise(entering.wide, reduction, formula, w, b, given, counted)
        budget = forward_budget(
            forward, reduction, formula, accumulation, weight, bias, entering.error,
            _parameter_error(problem, accumulation),
        )  # fmt: skip
        clean = entering.x.isfinite()
        if fixed is None:
            clean = all_over(clean, reduction.over)
        ungated = budget.output
        if gate is not None and not problem.gate_first:
            budget = replace(budget, output=_gated(forward, ungated, gate, accumulation))
        return cls(
            problem, piece, forward, wide, budget, weight, bias, clean, source, gate, ungated, mask
        )

    @property
    def behind(self) -> Gate | None:
        """The gate that multiplies the output, None without one."""
        return None if self.problem.gate_first else self.gate

    @property
    def output(self) -> Tensor | DoubleDouble:
        """The exact output, as exact as the input needs."""
        gate = self.behind
        if self.wide is None:
            return self.forward.output if gate is None else self.forward.output * gate.value
        if gate is None or gate.wide_value is None:
            return self.wide.output
        return self.wide.output * gate.wide_value

    def gradients(
        self, dy: Tensor, exact_dy: DoubleDouble | None = None
    ) -> tuple[Gradients[Tensor], Gradients[DoubleDouble] | None]:
        """Return the exact gradients in float64, and in double-double for float64 inputs.

        Args:
            dy: The view's shape, float64: the gradient of the output before a gate.
            exact_dy: The same in double-double, where it is no float64 number.
        """
        reduction, formula = self.piece.reduction, self.problem.formula
        found = differentiate(self.forward, dy, reduction, formula, self.weight)
        if self.mask is not None:
            found = replace(found, x=_kept(found.x, self.mask))
        if self.wide is None:
            return found, None
        weight = None if self.weight is None else DoubleDouble.of(self.weight)
        precise = differentiate(
            self.wide, exact_dy or DoubleDouble.of(dy), reduction, formula, weight
        )
        if self.mask is not None:
            precise = replace(precise, x=precise.x * self.mask.double())
        return found, precise

    def laundered(self, value: Tensor) -> int:
        """Count slices whose input is not finite but whose output is."""
        if self.clean.shape == value.shape:
            return int((value.isfinite() & ~self.clean).sum())
        sizes = zip(self.clean.shape, value.shape, strict=True)
        axes = tuple(i for i, (kept, size) in enumerate(sizes) if kept != size)
        return int((all_over(value.isfinite(), axes) & ~self.clean).sum())


def _is_wide(fmt: FloatFormat) -> bool:
    """Whether a format needs a reference beyond float64."""
    return fmt.dtype == torch.float64


def _parameter(tensor: Tensor | None, piece: Piece) -> Tensor | None:
    return None if tensor is None else piece.take(tensor).double()


def _gate(problem: Problem, piece: Piece, accumulation: FloatFormat) -> Gate | None:
    if problem.gate is None:
        return None
    wide = _is_wide(FloatFormat.of(problem.x.dtype))
    flushes = problem.formula.flushes
    tiny = accumulation.smallest_normal if flushes else accumulation.smallest_subnormal
    return Gate.of(piece.take(problem.gate).double(), accumulation, wide=wide, tiny=tiny)


def _parameter_error(problem: Problem, accumulation: FloatFormat) -> float:
    """Parameters wider than the accumulation format are rounded to it before they are used."""
    given = [problem.weight, problem.bias, *(problem.fixed or ())]
    formats = [FloatFormat.of(t.dtype) for t in given if t is not None]
    wide = any(fmt.precision > accumulation.precision for fmt in formats)
    return accumulation.unit_roundoff if wide else 0.0


def _gated(
    forward: Forward[Tensor], ungated: Tensor, gate: Gate, accumulation: FloatFormat
) -> Tensor:
    """Rule G: the budget of a product with a gate."""
    value, size = forward.output.abs(), gate.value.abs()
    product = ungated * (size + gate.value_error) + value * gate.value_error
    return product + accumulation.unit_roundoff * value * size + accumulation.smallest_subnormal
