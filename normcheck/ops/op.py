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
    """

    name: str
    kind: Kind
    optional: bool = False
    differentiable: bool = False
    affine: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What besides the shape decides how an op reduces.

    Attributes:
        dims: How many trailing dimensions are normalised (rows ops).
        groups: Number of groups (group_norm).
    """

    dims: int = 1
    groups: int = 1


X = Parameter("x", Kind.TENSOR, differentiable=True)
RESIDUAL = Parameter("residual", Kind.TENSOR, differentiable=True)
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

    def signature(self) -> str:
        """Return the op as a Python signature."""
        returned = f" -> ({', '.join(self.outputs)})" if len(self.outputs) > 1 else ""
        return f"{self.name}({', '.join(p.name for p in self.parameters)}){returned}"
