"""One normalization as the judge sees it: tensors in the shape of the view, and the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import Formula, Reduction

__all__ = ["Observed", "Problem", "RunningUpdate"]


@dataclass(frozen=True, slots=True)
class RunningUpdate:
    """How running statistics are updated in training mode.

    Attributes:
        mean: Buffer before the call, affine shape, its own format.
        variance: Buffer before the call, affine shape, its own format.
        momentum: Weight of the new value.
        biased: Whether the new variance is v rather than v n / (n - 1).
    """

    mean: Tensor
    variance: Tensor
    momentum: float
    biased: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Inputs of one case on the CPU, in the shape of the view, in their own formats.

    Attributes:
        reduction: What is reduced.
        formula: What is computed.
        x: Shape of the view.
        output: Format of the result.
        residual: Shape of the view; added to ``x`` before the norm.
        gate: Shape of the view: z, whose silu(z) multiplies the norm's output, or its input.
        gate_first: Whether it multiplies the input.
        mask: Broadcastable to the view, bool: the elements that count; None for all. How many they
            are in a slice is `Reduction.valid`.
        weight: Affine shape.
        bias: Affine shape.
        fixed: Mean and variance to use instead of the slice's own, affine shape.
        running: The update of running statistics, None where there is none.
        rounding: A rounding policy that the user declared; None tries all.
        arithmetic: Accumulation format that the budget grants; None for the contract's. A
            declared policy or a hypothesis of a diagnosis grants a narrower one.
        everywhere: Whether outputs are compared also where a verdict would be unfair: beyond the
            range of squares, and where the budget has no power. For the operating envelope.
    """

    reduction: Reduction
    formula: Formula
    x: Tensor
    output: FloatFormat
    residual: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    fixed: tuple[Tensor, Tensor] | None = None
    running: RunningUpdate | None = None
    rounding: str | None = None
    arithmetic: FloatFormat | None = None
    gate: Tensor | None = None
    gate_first: bool = False
    mask: Tensor | None = None
    everywhere: bool = False

    @property
    def narrow(self) -> FloatFormat:
        """The format to which rounding policies round on the way: the input's or the output's."""
        own = FloatFormat.of(self.x.dtype)
        return self.output if self.output.precision < own.precision else own


@dataclass(frozen=True, slots=True)
class Observed:
    """What a target returned, in the shapes of the problem, each in its own format.

    Attributes:
        outputs: ``y`` and, of a fused addition, ``residual_out``.
        dy: Gradient that was fed back per output, same names.
        gradients: ``x``, ``residual``, ``z``, ``weight``, ``bias``; those that were returned.
        state: ``running_mean`` and ``running_var`` after the call.
    """

    outputs: Mapping[str, Tensor]
    dy: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)
