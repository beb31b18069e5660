"""A target ready to be judged: found, bound, and told apart from what cannot be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from normcheck.ops.op import Op
from normcheck.policy import Policy
from normcheck.targets.adapter import (
    Adapter,
    FunctionAdapter,
    own_epsilon,
    refuse_unless_callable,
)
from normcheck.targets.binding import bind_function, declared_eps, parameters_of
from normcheck.targets.frameworks import framework_of, named_framework
from normcheck.targets.module import ModuleAdapter, bind_module
from normcheck.targets.resolve import resolve
from normcheck.targets.triton_interpreter import mend

__all__ = ["adapt", "load"]


def load(
    text: str,
    op: Op,
    policy: Policy,
    *,
    fixed: Mapping[str, object] | None = None,
    framework: str = "auto",
) -> Adapter:
    """Resolve and bind a target.

    Args:
        text: ``package.module:callable``, ``path/file.py:callable``, or an nn.Module class.
        op: What it is judged as.
        policy: The declared conventions.
        fixed: Parameters that the user sets to a value.
        framework: ``torch``, ``numpy``, ``jax``, or ``auto`` to tell from the target's module.

    Raises:
        TargetError: It cannot be found, imported, called or bound.
    """
    found = resolve(text)
    # A test of the pytest plugin stands for the function that it was made of.
    contract = getattr(found, "normcheck_contract", None)
    found = found if contract is None else contract.target
    return adapt(found, text, op, policy, fixed=fixed, framework=framework)


def adapt(
    found: object,
    text: str,
    op: Op,
    policy: Policy,
    *,
    fixed: Mapping[str, object] | None = None,
    framework: str = "auto",
) -> Adapter:
    """Bind an object that was already imported; arguments as of `load`."""
    target = refuse_unless_callable(found, text)
    values = dict(fixed or {})
    bound: FunctionAdapter | ModuleAdapter
    if inspect.isclass(target) and issubclass(target, nn.Module):
        bound = bind_module(target, text, op, values, policy)
    else:
        bound = _bound(target, text, op, values, policy, framework)
    interpreted = mend()
    return replace(bound, notes=(*bound.notes, interpreted)) if interpreted else bound


def _bound(
    target: Callable[..., object],
    text: str,
    op: Op,
    values: dict[str, object],
    policy: Policy,
    framework: str,
) -> FunctionAdapter:
    parameters = [p.name for p in parameters_of(target, text, op)]
    declared = declared_eps(values, op)
    if "eps" not in parameters:
        # A constant inside the target: said, not passed.
        values.pop("eps", None)
    binding = bind_function(target, text, op, values)
    own, note = own_epsilon(op, binding, declared)
    arrays = framework_of(target) if framework == "auto" else named_framework(framework)
    notes = tuple(filter(None, [note, _without(binding.missing)]))
    return FunctionAdapter(target, text, op, binding, policy, arrays, own, notes)


def _without(missing: tuple[str, ...]) -> str:
    """Say in words what a target without some parameters is not tried on."""
    told = {
        "weight": "without weight",
        "bias": "without bias",
        "normalized_shape": "over the last dimension",
        "running_mean": "without running statistics",
    }
    found = [told[name] for name in missing if name in told]
    return f"judged {' and '.join(found)} only" if found else ""
