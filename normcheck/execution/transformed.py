"""Calls of a torch target through what differentiates or batches functions.

Each of them is a `Session`: limited in time, its exceptions told apart, its arguments looked after.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from normcheck.cases.generator import key_of, normals
from normcheck.cases.materialise import Inputs, materialise
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation
from normcheck.execution.session import Session
from normcheck.execution.way import Way
from normcheck.targets.adapter import Adapter, FunctionAdapter
from normcheck.targets.frameworks import NoGradientError, Torch, TorchCall, autograd, fed

__all__ = ["Transformed", "directions", "framework_name", "takes_parameters", "without_buffers"]

# Untyped in torch.
_make_dual: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
_unpack_dual: Callable[[Tensor], Any] = forward_ad.unpack_dual
_KNOWN = {"x", "residual", "weight", "bias", "running_mean", "running_var"}


def framework_name(adapter: Adapter) -> str:
    """Return which framework's arrays a target takes: ``torch``, ``numpy`` or ``jax``."""
    return adapter.framework.name if isinstance(adapter, FunctionAdapter) else Torch().name


def takes_parameters(adapter: Adapter) -> bool:
    """Whether weight and bias are arguments of the call, not copied into a module's own."""
    return isinstance(adapter, FunctionAdapter)


def without_buffers(inputs: Inputs, adapter: Adapter) -> Inputs:
    """Return the inputs without running statistics where the target can do without.

    A buffer that is shared by a batch of calls, or that is no part of the derivative, cannot be
    updated in a transform.
    """
    case = inputs.case
    if case.mode != "train" or "running_mean" not in inputs.tensors:
        return inputs
    if "running_mean" in adapter.binding.missing:
        return inputs
    return materialise(case.changed(stats="none"))


def directions(inputs: Inputs) -> dict[str, Tensor]:
    """Return a random direction per differentiable tensor that every function of a norm takes."""
    found = {}
    for parameter in inputs.op.tensors:
        value = inputs.tensors.get(parameter.name)
        if value is not None and parameter.differentiable and parameter.name in _KNOWN:
            key = key_of("direction", parameter.name, inputs.case.seed)
            bell = normals(value.numel(), key).reshape(value.shape)
            # Through float32, which rounds alike on every machine.
            found[parameter.name] = bell.float().to(value.dtype)
    return found


class Transformed(Session):
    """One prepared call under a transform of torch.

    Attributes:
        attached: Tensors whose first gradient could be differentiated again.
    """

    def __init__(self, executor: InProcess, inputs: Inputs) -> None:
        super().__init__(executor, inputs, Way(gradients=True))
        self.attached: tuple[str, ...] = ()
        self._plain = {n: t.detach() for n, t in self._tensors.items()}

    def twice(self, along: Mapping[str, Tensor]) -> Observation:
        """Differentiate the sum of first gradients times directions again.

        Returns:
            As gradients, those by each tensor of ``along`` and by ``dy``; zero where none came.
        """
        return self._observed(lambda: self._quietly(lambda: self._twice(along)))

    def pushed(self, along: Mapping[str, Tensor], *, functional: bool) -> Observation:
        """Return, as outputs, the derivative of the outputs along a direction.

        Args:
            along: Directions by the op's name of the tensor.
            functional: Through ``torch.func.jvp`` rather than dual numbers.
        """
        step = self._jvp if functional else self._dual
        return self._observed(lambda: self._quietly(lambda: step(along)))

    def mapped(
        self,
        batch: Mapping[str, Tensor],
        axis: int,
        dy: Mapping[str, Tensor] | None = None,
        *,
        functional: bool = False,
    ) -> Observation:
        """Call with a batch of tensors at once, through ``torch.func.vmap``.

        Args:
            batch: By the op's name, tensors with a dimension more than the case's.
            axis: Where that dimension is; it comes first in what is returned.
            dy: Per output, a batch of gradients to feed back, likewise; then the gradients by the
                tensors of ``batch`` are returned too.
            functional: Whether to differentiate each of the batch, by ``torch.func.vjp``, rather
                than the batch as a whole. The first time, torch imports its compiler for it.
        """
        step = self._mapped_pull if functional else self._mapped
        return self._observed(lambda: self._quietly(lambda: step(batch, axis, dy or {})))

    def _quietly(self, step: Callable[[], dict[str, dict[str, Tensor]]]) -> Any:
        """Warnings of torch about slow fallbacks are no answer of the target."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return step()

    def _function(self, names: tuple[str, ...]) -> Callable[..., dict[str, Tensor]]:
        """The target as a function of some of its tensors, the others as they are."""
        prepare = self.executor.adapter.prepare
        if not takes_parameters(self.executor.adapter):
            # A module is built before: a transform cannot reach into what it makes of parameters.
            built = prepare(self.inputs, self._plain)
            assert isinstance(built, TorchCall), "modules are torch's"
            return lambda *given: built.runner(dict(zip(names, given, strict=True)))

        def function(*given: Tensor) -> dict[str, Tensor]:
            tensors = {**self._plain, **dict(zip(names, given, strict=True))}
            return prepare(self.inputs, tensors).run()

        return function

    def _placed_like(self, along: Mapping[str, Tensor]) -> tuple[tuple[str, ...], list[Tensor]]:
        names = tuple(along)
        return names, [along[n].to(self.executor.device) for n in names]

    def _twice(self, along: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        self._forward()
        y = self.returned["y"]
        leaves = {n: t for n, t in self.tensors.items() if n in along and t.requires_grad}
        if not y.requires_grad:
            raise NoGradientError("its outputs are not attached to the autograd graph")
        dy = self._dy["y"].tensor.detach().clone().requires_grad_()
        # The product's gradient by y is dy, and depends on dy as a fed gradient would.
        first = torch.autograd.grad(
            (y * dy).sum(), list(leaves.values()), create_graph=True, allow_unused=True
        )
        usable = {
            n: g for n, g in zip(leaves, first, strict=True) if g is not None and g.requires_grad
        }
        if "x" not in usable:
            raise NoGradientError("the gradient of x carries no graph to differentiate again")
        self.attached = tuple(usable)
        # Everything is run through, not only what leads to the tensors: there once_differentiable
        # raises, and torch.autograd.grad would pass it by.
        directions = [along[n].to(g.device).reshape(g.shape) for n, g in usable.items()]
        fed(directions, list(usable.values())).backward()  # type: ignore[no-untyped-call]
        wanted = {**leaves, "dy": dy}
        found = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in wanted.items()}
        for tensor in wanted.values():
            tensor.grad = None
        return {"gradients": _copied(found)}

    def _dual(self, along: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        names, moves = self._placed_like(along)
        function = self._function(names)
        with forward_ad.dual_level():
            pairs = zip(names, moves, strict=True)
            outputs = function(*(_make_dual(self._plain[n], v) for n, v in pairs))
            moved = _tangent(outputs["y"])
            if moved is None:
                raise NoGradientError("no tangent reaches y")
            return {"outputs": _copied({"y": moved})}

    def _jvp(self, along: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        names, moves = self._placed_like(along)
        function = self._function(names)
        primals = tuple(self._plain[n] for n in names)
        found = torch.func.jvp(lambda *given: function(*given)["y"], primals, tuple(moves))
        return {"outputs": _copied({"y": found[1]})}

    def _mapped(
        self, batch: Mapping[str, Tensor], axis: int, dy: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        names, given = self._placed_like(batch)
        leaves = [t.detach().requires_grad_() if dy else t for t in given]
        outputs = torch.func.vmap(self._function(names), axis)(*leaves)
        if not dy:
            return {"outputs": _copied(outputs)}
        found = autograd(outputs, self._on_device(dy), dict(zip(names, leaves, strict=True)))
        return {"outputs": _copied(outputs), "gradients": _copied(found)}

    def _mapped_pull(
        self, batch: Mapping[str, Tensor], axis: int, dy: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        names, given = self._placed_like(batch)
        function = self._function(names)

        def differentiated(fed: dict[str, Tensor], *one: Tensor) -> Any:
            outputs, pull = torch.func.vjp(function, *one)[:2]
            return outputs, pull(fed)

        mapped = torch.func.vmap(differentiated, (0, *(axis for _ in names)))
        outputs, gradients = mapped(self._on_device(dy), *given)
        found = dict(zip(names, gradients, strict=True))
        return {"outputs": _copied(outputs), "gradients": _copied(found)}

    def _on_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.to(self.executor.device) for name, t in tensors.items()}


def _tangent(dual: Tensor) -> Tensor | None:
    tangent: Tensor | None = _unpack_dual(dual).tangent
    return tangent


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().cpu().clone() for name, t in tensors.items()}
