"""Custom ops that a target calls are registered as they behave."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from normcheck.execution.session import Session
from normcheck.execution.transformed import framework_name
from normcheck.execution.way import Way
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.probing import applies
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.resolve import first_line

__all__ = ["PROPERTY", "CustomOp"]

_TORCH = {"aten", "prim", "prims", "_c10d_functional", "c10d", "inductor", "higher_order"}


class CustomOp(Property):
    """torch.library.opcheck on every op of torch.library that a target goes through."""

    name = "custom_op"
    silent = True
    local = True
    explanation = Explanation(
        claim="Each custom op that the target calls passes torch.library.opcheck on the arguments "
        "of the call: its schema says what it overwrites, its fake kernel has the right shapes and "
        "dtypes, and traced with its gradient it does the same.",
        why="An op whose registration is wrong is right in eager mode and silently wrong when it "
        "is compiled or exported: an undeclared write is moved, a wrong fake shape is believed.",
        bound="Exact: opcheck passes. Without a fake kernel there is nothing to hold to, and an op "
        "without gradients is checked without.",
        bugs=("https://github.com/pytorch/pytorch/pull/139923 (dtype of the fake kernel)",),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the ops that one case calls."""
        chosen = applies(trial, elements=2048, every=16, offset=10)
        if not chosen or framework_name(trial.adapter) != "torch":
            return Outcome(Status.INAPPLICABLE)
        noted = _Noted(trial)
        observed = noted.run()
        if observed.raised is not None and not noted.calls:
            return from_trouble(observed.raised)
        if not noted.calls:
            return Outcome(Status.INAPPLICABLE, reason="it calls no custom op")
        refused = ""
        for name, (op, arguments, named) in noted.calls.items():
            for test, problem in _checked(op, arguments, named).items():
                if "no fake impl registered" in problem:
                    refused = refused or f"{name}: {problem}"
                elif problem:
                    finding = Finding(name, f"{test} of torch.library.opcheck: {problem}")
                    return Outcome(Status.VIOLATED, finding=finding)
        if refused:
            return Outcome(Status.UNSUPPORTED, reason=refused)
        return Outcome(Status.HELD)


_Arguments = tuple[Any, tuple[Any, ...], Mapping[str, Any]]


class _Listening(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Notes each op that is not torch's own, with copies of its first arguments."""

    def __init__(self, calls: dict[str, _Arguments], *, gradients: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.calls, self.gradients = calls, gradients

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that nothing needs to be kept from dynamo: else all of it would be imported first."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if isinstance(func, torch._ops.OpOverload) and func.namespace not in _TORCH:
            written = func._schema.is_mutable
            name = str(func)
            if name not in self.calls:
                copy = _copier(gradients=self.gradients and not written)
                first = tree_map_only(Tensor, copy, (args, named))
                self.calls[name] = (func, *first)
        return func(*args, **named)


def _copier(*, gradients: bool) -> Callable[[Tensor], Tensor]:
    def copy(tensor: Tensor) -> Tensor:
        copied = tensor.detach().clone()
        return copied.requires_grad_() if gradients and copied.is_floating_point() else copied

    return copy


class _Noted(Session):
    """One call of the target, under a listener."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.session(Way()).executor, trial.inputs, Way())
        self.calls: dict[str, _Arguments] = {}
        self._gradients = trial.backward.raised is None

    def _forward(self) -> dict[str, dict[str, Tensor]]:
        with _Listening(self.calls, gradients=self._gradients):
            return super()._forward()

    def _backward(self) -> dict[str, dict[str, Tensor]]:
        return {}


def _checked(op: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, str]:
    """Return per test of opcheck what is wrong, "" where nothing is."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = torch.library.opcheck(
            op, arguments, dict(named), raise_exception=False
        )
    return {
        test: "" if answer == "SUCCESS" else first_line(answer) for test, answer in found.items()
    }


PROPERTY = CustomOp()
