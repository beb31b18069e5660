"""Exact quantities and budgets of one piece of a case, under one reading of its residual sum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.budget import ForwardBudget, forward_budget
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
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
class ExactPiece:
    """What the target should have computed from one piece.

    Attributes:
        problem: The case.
        piece: Where it lies.
        forward: Exact forward quantities, float64.
        wide: The same in double-double, for float64 inputs only.
        budget: Forward budgets.
        weight: Of the piece, float64, or None.
        bias: Of the piece, float64, or None.
        clean: The view's shape or slice shape: nothing but finite numbers came in.
    """

    problem: Problem
    piece: Piece
    forward: Forward[Tensor]
    wide: Forward[DoubleDouble] | None
    budget: ForwardBudget
    weight: Tensor | None
    bias: Tensor | None
    clean: Tensor

    @classmethod
    def of(
        cls, problem: Problem, piece: Piece, accumulation: FloatFormat, *, rounded: bool
    ) -> ExactPiece:
        """Work out one piece.

        Args:
            problem: The case.
            piece: Where it lies.
            accumulation: The format whose roundoff is granted.
            rounded: Whether a residual sum is rounded to the input's format before the norm.
        """
        take, fmt = piece.take, FloatFormat.of(problem.x.dtype)
        x, error = take(problem.x).double(), None
        exact_x = DoubleDouble.of(x) if fmt.dtype == torch.float64 else None
        weight = None if problem.weight is None else take(problem.weight).double()
        bias = None if problem.bias is None else take(problem.bias).double()
        fixed = None
        if problem.fixed is not None:
            fixed = (take(problem.fixed[0]).double(), take(problem.fixed[1]).double())
        if problem.residual is not None:
            residual = take(problem.residual).double()
            x = round_to(x + residual, fmt) if rounded else x + residual
            if exact_x is not None:
                exact_x = DoubleDouble.of(x) if rounded else exact_x + residual
            error = None if rounded else accumulation.unit_roundoff * x.abs()
        formula, reduction = problem.formula, piece.reduction
        forward = normalise(x, reduction, formula, weight, bias, fixed)
        wide = None
        if exact_x is not None:
            given = (
                None if fixed is None else (DoubleDouble.of(fixed[0]), DoubleDouble.of(fixed[1]))
            )
            w, b = (None if t is None else DoubleDouble.of(t) for t in (weight, bias))
            wide = normalise(exact_x, reduction, formula, w, b, given)
        budget = forward_budget(forward, reduction, formula, accumulation, weight, bias, error)
        clean = x.isfinite()
        if fixed is None:
            clean = all_over(clean, reduction.over)
        return cls(problem, piece, forward, wide, budget, weight, bias, clean)

    @property
    def output(self) -> Tensor | DoubleDouble:
        """The exact output, as exact as the input needs."""
        return self.forward.output if self.wide is None else self.wide.output

    def gradients(self, dy: Tensor) -> tuple[Gradients[Tensor], Gradients[DoubleDouble] | None]:
        """Return the exact gradients in float64, and in double-double for float64 inputs."""
        reduction, formula = self.piece.reduction, self.problem.formula
        found = differentiate(self.forward, dy, reduction, formula, self.weight)
        if self.wide is None:
            return found, None
        weight = None if self.weight is None else DoubleDouble.of(self.weight)
        return found, differentiate(self.wide, DoubleDouble.of(dy), reduction, formula, weight)

    def laundered(self, value: Tensor) -> int:
        """Count slices whose input is not finite but whose output is."""
        if self.clean.shape == value.shape:
            return int((value.isfinite() & ~self.clean).sum())
        sizes = zip(self.clean.shape, value.shape, strict=True)
        axes = tuple(i for i, (kept, size) in enumerate(sizes) if kept != size)
        return int((all_over(value.isfinite(), axes) & ~self.clean).sum())
