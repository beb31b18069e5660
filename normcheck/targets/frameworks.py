"""Calling targets that are written for another framework's arrays, through DLPack."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from normcheck.errors import UsageError, nearest

__all__ = [
    "FRAMEWORKS",
    "Call",
    "Framework",
    "NoGradientError",
    "TorchCall",
    "autograd",
    "fed",
    "framework_of",
    "named_framework",
]

Run = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Calls the target with arrays under its own names; returns arrays under the op's names."""


class NoGradientError(Exception):
    """The target has no gradient to judge; the message says why."""


class Call(Protocol):
    """One prepared call.

    Attributes:
        tensors: Per tensor parameter of the op, the very tensor that the target gets: leaves that
            gradients are read from, buffers that state is read from.
    """

    tensors: Mapping[str, Tensor]

    def run(self) -> dict[str, Tensor]:
        """Call the target once and return its outputs by name."""

    def backward(
        self, outputs: Mapping[str, Tensor], dy: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return gradients by the name of the parameter; missing where none came.

        Raises:
            NoGradientError: There are none to judge.
        """


class Framework(Protocol):
    """How a target's arrays relate to torch tensors."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def is_array(self, item: object) -> bool:
        """Return whether ``item`` is an array of the framework."""

    def call(self, run: Run, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Call:
        """Prepare one call; ``names`` maps the op's parameters to the target's own."""


def fed(dy: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """Return a scalar whose gradients by the outputs are ``dy`` itself, strides and all.

    ``grad_outputs`` would do the same, but makes torch import sympy: half a second of a run.
    """
    loss: Tensor = _Fed.apply(dy, *outputs)  # type: ignore[no-untyped-call]
    return loss


class _Fed(torch.autograd.Function):
    """What `fed` puts at the end of the graph."""

    @staticmethod
    def forward(ctx: Any, dy: Sequence[Tensor], *outputs: Tensor) -> Tensor:
        """Keep what to feed back."""
        ctx.dy = dy
        return outputs[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Feed it back."""
        return (None, *ctx.dy)


def autograd(
    outputs: Mapping[str, Tensor], dy: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the gradients that reached the leaves among ``tensors``.

    Raises:
        NoGradientError: No output depends on a leaf in a way that autograd knows.
    """
    leaves = {name: t for name, t in tensors.items() if t.requires_grad}
    attached = {name: y for name, y in outputs.items() if y.requires_grad}
    if not attached:
        raise NoGradientError("its outputs are not attached to the autograd graph")
    loss = fed([dy[name] for name in attached], list(attached.values()))
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {name: g for name, g in zip(leaves, found, strict=True) if g is not None}


@dataclass(slots=True)
class TorchCall:
    """A call with torch tensors; gradients come from autograd."""

    runner: Run
    names: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def run(self) -> dict[str, Tensor]:
        """Call the target."""
        return self.runner({mine: self.tensors[own] for own, mine in self.names.items()})

    def backward(
        self, outputs: Mapping[str, Tensor], dy: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Differentiate by autograd."""
        return autograd(outputs, dy, self.tensors)


@dataclass(frozen=True, slots=True)
class Torch:
    """torch tensors in, torch tensors out."""

    name: str = "torch"

    def is_array(self, item: object) -> bool:
        """Return whether ``item`` is a tensor."""
        return isinstance(item, Tensor)

    def call(self, run: Run, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Call:
        """Pass the tensors themselves."""
        return TorchCall(run, names, tensors)


@dataclass(slots=True)
class _NumpyCall:
    runner: Run
    names: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def run(self) -> dict[str, Tensor]:
        # Views of the same memory: a write to an argument is seen.
        arrays = {mine: self.tensors[own].detach().numpy() for own, mine in self.names.items()}
        return {name: torch.as_tensor(y) for name, y in self.runner(arrays).items()}

    def backward(
        self, outputs: Mapping[str, Tensor], dy: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        raise NoGradientError("NumPy has no autograd")


@dataclass(frozen=True, slots=True)
class Numpy:
    """NumPy arrays that share memory with the tensors."""

    name: str = "numpy"

    def is_array(self, item: object) -> bool:
        """Return whether ``item`` is an array or a NumPy scalar."""
        import numpy as np

        return isinstance(item, (np.ndarray, np.generic))

    def call(self, run: Run, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Call:
        """Pass NumPy views of the tensors."""
        return _NumpyCall(run, names, tensors)


@dataclass(slots=True)
class _JaxCall:
    runner: Run
    names: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    pullback: Callable[[Any], Any] | None = None

    def run(self) -> dict[str, Tensor]:
        jax: Any = importlib.import_module("jax")
        with self._precision(jax):
            arrays = {
                mine: jax.dlpack.from_dlpack(self.tensors[own].detach().contiguous())
                for own, mine in self.names.items()
            }
            if any(t.requires_grad for t in self.tensors.values()):
                outputs, self.pullback = jax.vjp(self.runner, arrays)
            else:
                outputs = self.runner(arrays)
            return {name: from_dlpack(y) for name, y in outputs.items()}

    def backward(
        self, outputs: Mapping[str, Tensor], dy: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        jax: Any = importlib.import_module("jax")
        assert self.pullback is not None, "run comes before backward"
        own = {mine: name for name, mine in self.names.items()}
        with self._precision(jax):
            cotangents = {k: jax.dlpack.from_dlpack(t.contiguous()) for k, t in dy.items()}
            (gradients,) = self.pullback(cotangents)
            return {own[name]: from_dlpack(g) for name, g in gradients.items()}

    def _precision(self, jax: Any) -> Any:
        """Let float64 through where the case has it, and only there."""
        wide = any(t.dtype == torch.float64 for t in self.tensors.values())
        return jax.enable_x64(wide)


@dataclass(frozen=True, slots=True)
class Jax:
    """JAX arrays; gradients come from ``jax.vjp``."""

    name: str = "jax"

    def is_array(self, item: object) -> bool:
        """Return whether ``item`` is a JAX array or a tracer of one."""
        jax: Any = importlib.import_module("jax")
        return isinstance(item, jax.Array)

    def call(self, run: Run, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Call:
        """Pass JAX arrays over the same memory."""
        return _JaxCall(run, names, tensors)


FRAMEWORKS: dict[str, Framework] = {"torch": Torch(), "numpy": Numpy(), "jax": Jax()}


def named_framework(name: str) -> Framework:
    """Return the framework of that name.

    Raises:
        UsageError: It is not known.
    """
    if name not in FRAMEWORKS:
        raise UsageError(f"framework is {name!r}, but must be known{nearest(name, FRAMEWORKS)}")
    return FRAMEWORKS[name]


def framework_of(target: Callable[..., object]) -> Framework:
    """Tell a function's framework from the modules that its own module has imported.

    torch wins over JAX, and JAX over NumPy: who imports torch beside NumPy works on tensors.
    """
    function = getattr(target, "__wrapped__", target)
    scope = getattr(function, "__globals__", {})
    names = {v.__name__.partition(".")[0] for v in scope.values() if isinstance(v, ModuleType)}
    return FRAMEWORKS[next((name for name in ("torch", "jax", "numpy") if name in names), "torch")]
