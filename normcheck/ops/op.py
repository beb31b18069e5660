"""What an op is: its parameters, its outputs, and how one description of a reduction carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from normcheck.numerics.reduction import EpsPlace, Reduction

__all__ = ["Family", "Kind", "Op", "Parameter", "Settings"]


class Kind(StrEnum):
    """What may be passed for a parameter."""

    TENSOR = "tensor"
    SHAPE = "shape"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"


class Family(StrEnum):
    """Which corpus of shapes an op is tried on."""

    ROWS = "rows"  # reduces trailing dimensions
    CHANNELS = "channels"  # (N, C, *spatial)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an op.

    Attributes:
        name: The op's own word for it.
        kind: What may be passed.
        optional: Whether None (a tensor) or leaving it out is meaningful.
        differentiable: Whether a gradient flows to it.
        affine: Whether it has the shape of the affine parameters.
        passed: Whether a module gets it with every call although it is affine (ada_layer_norm).
    """

    name: str
    kind: Kind
    optional: bool = False
    differentiable: bool = False
    affine: bool = False
    passed: bool = False

    @property
    def is_input(self) -> bool:
        """Whether a module gets it with every call, rather than owning it."""
        return self.kind is Kind.TENSOR and (not self.affine or self.passed)


@dataclass(frozen=True, slots=True)
class Settings:
    """What besides the shape decides how an op reduces.

    Attributes:
        dims: How many trailing dimensions are normalised (rows ops).
        groups: Number of groups (group_norm, rms_norm_gated).
    """

    dims: int = 1
    groups: int = 1


def _any_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    return shape


X = Parameter("x", Kind.TENSOR, differentiable=True)
RESIDUAL = Parameter("residual", Kind.TENSOR, differentiable=True)
GATE = Parameter("z", Kind.TENSOR, differentiable=True)
MASK = Parameter("mask", Kind.TENSOR)
WEIGHT = Parameter("weight", Kind.TENSOR, optional=True, differentiable=True, affine=True)
BIAS = Parameter("bias", Kind.TENSOR, optional=True, differentiable=True, affine=True)
EPS = Parameter("eps", Kind.NUMBER)
NORMALIZED_SHAPE = Parameter("normalized_shape", Kind.SHAPE)
RUNNING = (
    Parameter("running_mean", Kind.TENSOR, optional=True, affine=True),
    Parameter("running_var", Kind.TENSOR, optional=True, affine=True),
)
MOMENTUM = Parameter("momentum", Kind.NUMBER)


@dataclass(frozen=True, slots=True)
class Op:
    """A normalization: what is computed, with which parameters, over which axes.

    Attributes:
        name: The field's name for it.
        summary: One line: the formula.
        parameters: In calling order.
        family: The shapes it is tried on.
        reduce: Shape of ``x`` and settings to the reduction.
        eps: The default epsilon of a case.
        eps_place: The op's own convention.
        outputs: Names of what it returns, in order.
        training_flag: The parameter that chooses the slice's own statistics, "" without one.
        one_plus: Whether the op's own convention multiplies by ``1 + weight``.
        axis: What a target's parameter ``dim`` takes: the axis of the rows.
        parts: Tensors that a target takes or returns in parts: the op's name of the stacked tensor
            (or of an output), then the parts' names along its first dimension.
        shaped: A shape to the nearest one that the op has a meaning for, None where there is none.
        parameter_shape: Shape of ``x`` to that of weight and bias; None for the family's own.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    family: Family
    reduce: Callable[[tuple[int, ...], Settings], Reduction]
    eps: float = 1e-5
    eps_place: EpsPlace = EpsPlace.INSIDE
    outputs: tuple[str, ...] = ("y",)
    training_flag: str = ""
    one_plus: bool = False
    axis: int = -1
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shaped: Callable[[tuple[int, ...]], tuple[int, ...] | None] = _any_shape
    parameter_shape: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None

    def parts_of(self, name: str) -> tuple[str, ...]:
        """Return the names under which a target takes a tensor in parts, () where it is whole."""
        return dict(self.parts).get(name, ())

    def affine_shape(self, shape: tuple[int, ...], settings: Settings) -> tuple[int, ...]:
        """Return the shape of weight and bias for an ``x`` of that shape."""
        if self.parameter_shape is not None:
            return self.parameter_shape(shape)
        return shape[-settings.dims :] if self.family is Family.ROWS else (shape[1],)

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, None without one."""
        return next((p for p in self.parameters if p.name == name), None)

    @property
    def tensors(self) -> tuple[Parameter, ...]:
        """The parameters that are tensors, in calling order."""
        return tuple(p for p in self.parameters if p.kind is Kind.TENSOR)

    @property
    def has_affine(self) -> bool:
        """Whether the op has a weight."""
        return self.parameter("weight") is not None

    @property
    def tracks_statistics(self) -> bool:
        """Whether the op keeps running statistics."""
        return self.parameter("running_mean") is not None

    def names_in_parts(self, names: tuple[str, ...]) -> list[str]:
        """Replace tensors that are taken or returned in parts by the names of their parts."""
        return [part for name in names for part in self.parts_of(name) or (name,)]

    def signature(self) -> str:
        """Return the op as a Python signature."""
        outputs = self.names_in_parts(self.outputs)
        returned = f" -> ({', '.join(outputs)})" if len(outputs) > 1 else ""
        given = self.names_in_parts(tuple(p.name for p in self.parameters))
        return f"{self.name}({', '.join(given)}){returned}"
