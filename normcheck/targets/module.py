"""Targets that are classes: ``torch.nn.Module`` with the parameters of a norm."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from normcheck.cases.case import Case
from normcheck.cases.corpus import expressible
from normcheck.cases.materialise import Inputs, materialise
from normcheck.errors import TargetError
from normcheck.ops.op import Family, Op
from normcheck.policy import Policy
from normcheck.targets import aliases
from normcheck.targets.adapter import conform, named
from normcheck.targets.binding import Binding, adaptor, match, parameters_of
from normcheck.targets.frameworks import Call, TorchCall

__all__ = ["ModuleAdapter", "bind_module"]

_ATTRIBUTES = {
    "weight": ("weight", "gamma", "scale", "g", "w"),
    "bias": ("bias", "beta", "shift", "b"),
    "running_mean": ("running_mean", "moving_mean"),
    "running_var": ("running_var", "moving_var", "running_variance"),
}


@dataclass(frozen=True, slots=True)
class ModuleAdapter:
    """A module class: built anew for every call, its parameters set to the case's values.

    ``inputs`` are the op's tensors that every call gets, each with the name under which
    ``forward`` takes it, "" for those that are passed by position.
    """

    module: type[nn.Module]
    text: str
    op: Op
    binding: Binding
    policy: Policy
    flags: Mapping[str, str]
    own_eps: float | None = None
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=lambda: {"x": "", "residual": ""})

    @property
    def written(self) -> object:
        """The class."""
        return self.module

    def conform(self, case: Case) -> Case:
        """Return the nearest case that the module can express."""
        changed = conform(case, self.binding.missing, self.own_eps)
        keeps = {name for name in ("weight", "bias") if name not in self.binding.missing}
        if "affine" not in self.flags and "weight" in keeps:
            changed = replace(changed, weight="mixed")
        if "bias" in keeps and not {"bias", "affine"} & set(self.flags):
            changed = replace(changed, bias="mixed")
        if "affine" in self.flags and changed.weight == "none":
            changed = replace(changed, bias="none")
        if "bias" in keeps and "bias" not in self.flags and changed.weight == "mixed":
            changed = replace(changed, bias="mixed")
        # A parameter called hidden_size takes one number; a module without any, the last dimension.
        if "shape" not in self.binding.names.get("normalized_shape", ""):
            changed = replace(changed, dims=1)
        return _with_rank(changed, self.module)

    def prepare(self, inputs: Inputs, tensors: Mapping[str, Tensor]) -> Call:
        """Build the module, give it the case's parameters, and make ready to call it."""
        module = self.module(**self.arguments(inputs))
        x = tensors["x"]
        module = module.to(device=x.device, dtype=x.dtype)
        module.train(inputs.case.mode == "train")
        owned: dict[str, Tensor] = {}
        for name, value in tensors.items():
            attribute = "" if name in self.inputs else _attribute(module, name)
            if attribute:
                owned[name] = _assign(module, attribute, value)
            elif name in self.inputs:
                owned[name] = value
        given = {name: name for name in owned if name in self.inputs}

        def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
            first = [arguments[name] for name in given if not self.inputs[name]]
            named_ones = {self.inputs[n]: arguments[n] for n in given if self.inputs[n]}
            returned = module(*first, **named_ones)
            return named(returned, self.op, self.text, lambda item: isinstance(item, Tensor))

        return TorchCall(run, given, owned)

    def attributes(self, inputs: Inputs) -> dict[str, str]:
        """Return what the module calls the parameters and buffers of a case."""
        module = self.module(**self.arguments(inputs))
        names = [name for name in inputs.tensors if name not in self.inputs]
        found = {name: _attribute(module, name) for name in names}
        return {name: attribute for name, attribute in found.items() if attribute}

    def arguments(self, inputs: Inputs) -> dict[str, object]:
        """Return the constructor's arguments for a case."""
        case = inputs.case
        values = {
            "num_groups": case.groups,
            "num_channels": case.shape[1] if len(case.shape) > 1 else 1,
            "eps": inputs.eps,
            "momentum": 1.0 - case.momentum if self.policy.momentum == "old" else case.momentum,
            "track_running_stats": "running_mean" in inputs.tensors,
            "group_size": case.shape[-1] // case.groups,
        }
        arguments: dict[str, object] = dict(self.binding.fixed)
        for own, mine in self.binding.names.items():
            if own == "normalized_shape":
                shape = inputs.normalized_shape
                arguments[mine] = shape if "shape" in mine else shape[0]
            else:
                arguments[mine] = values[own]
        for own, mine in self.flags.items():
            arguments[mine] = ("weight" if own == "affine" else "bias") in inputs.tensors
        return arguments


def _with_rank(case: Case, module: type[nn.Module]) -> Case:
    """Give a case the number of spatial dimensions that a class named ...1d, ...2d or ...3d takes.

    To InstanceNorm2d three dimensions are one unbatched image, not a batch of lines.
    """
    found = [re.search(r"([123])d$", base.__name__) for base in module.__mro__]
    rank = next((int(match[1]) for match in found if match), 0)
    spatial = case.shape[2:]
    is_flat_batch = rank == 1 and not spatial and case.op == "batch_norm"
    if not rank or len(spatial) == rank or is_flat_batch:
        return case
    folded = (*spatial[: rank - 1], math.prod(spatial[rank - 1 :]))
    shape = (*case.shape[:2], *folded, *(1 for _ in range(rank - len(folded))))
    layout = "contiguous" if case.layout == "channels_last" and rank == 1 else case.layout
    return replace(case, shape=shape, layout=layout)


def _attribute(module: nn.Module, name: str) -> str:
    """Return what the module calls a parameter or a buffer, "" where it has none."""
    for attribute in _ATTRIBUTES.get(name, ()):
        if isinstance(getattr(module, attribute, None), Tensor):
            return attribute
    return ""


def _assign(module: nn.Module, attribute: str, value: Tensor) -> Tensor:
    own: Tensor = getattr(module, attribute)
    if own.dtype != value.dtype:
        own.data = own.data.to(value.dtype)  # parameters keep a dtype of their own beside x
    with torch.no_grad():
        own.copy_(value.reshape(own.shape))
    if isinstance(own, nn.Parameter):
        own.requires_grad_(value.requires_grad)
    return own


def bind_module(
    module: type[nn.Module], text: str, op: Op, fixed: Mapping[str, object], policy: Policy
) -> ModuleAdapter:
    """Bind a module's constructor to an op.

    Raises:
        TargetError: A constructor parameter without a default is none of the op's, several could
            be, or the constructor raises on a small example.
    """
    if op.parts:
        rule = "is judged on functions: its parts have no one place in a module"
        raise TargetError(f"{text} is a module, but {op.name} {rule}; {adaptor(op, text, '...')}")
    parameters = parameters_of(module, text, op)
    wanted = ["eps", "momentum", "track_running_stats"] if op.tracks_statistics else ["eps"]
    if op.family is Family.ROWS:
        wanted.append("normalized_shape")
        wanted += ["group_size"] if op.parameter("group_size") else []
    else:
        wanted += ["num_channels"] + (["num_groups"] if op.parameter("num_groups") else [])
    flags = _flags(parameters, op, fixed)
    taken = {**fixed, **dict.fromkeys(flags.values())}
    names = match(op, {n: aliases.CONSTRUCTOR[n] for n in wanted}, parameters, text, taken)
    rest = [p for p in parameters if p.name not in {*names.values(), *flags.values(), *fixed}]
    required = [p.name for p in rest if p.default is inspect.Parameter.empty]
    if required:
        call = ", ".join(f"{p.name}=..." for p in parameters)
        raise TargetError(
            f"{text} has constructor parameter {required[0]!r}, but {op.name} has "
            f"{', '.join(p.name for p in op.parameters)}; "
            f"fix it with --set {required[0]}=VALUE, or {adaptor(op, text, call)}"
        )
    defaults = {p.name: repr(p.default) for p in rest if p.name not in ("device", "dtype")}
    binding = Binding(names, (), "", dict(fixed), defaults)
    inputs = _inputs(module, text, op)
    draft = ModuleAdapter(module, text, op, binding, policy, flags, inputs=inputs)
    return _probed(draft, parameters)


def _inputs(module: type[nn.Module], text: str, op: Op) -> dict[str, str]:
    """Find what ``forward`` calls the op's inputs; x and a residual go by position.

    Raises:
        TargetError: It does not take one of the others.
    """
    found = {p.name: "" for p in op.tensors if p.is_input}
    beyond = [name for name in found if name not in ("x", "residual")]
    if not beyond:
        return found
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    known = {name: words for name, words in aliases.of(op).items() if name in found}
    names = match(op, known, parameters, text, {})
    absent = [name for name in beyond if name not in names]
    if absent or "x" not in names:
        call = ", ".join(f"{p.name}=..." for p in parameters)
        raise TargetError(
            f"the forward of {text} has no parameter for {(absent or ['x'])[0]}, but {op.name} has "
            f"{', '.join(p.name for p in op.parameters)}; {adaptor(op, text, call)}"
        )
    return names


def _flags(
    parameters: list[inspect.Parameter], op: Op, fixed: Mapping[str, object]
) -> dict[str, str]:
    """Find the constructor's switches for weight and bias."""
    names = [p.name for p in parameters if p.name not in fixed]
    affine = [name for name in names if name in aliases.AFFINE_FLAGS and op.has_affine]
    bias = [name for name in names if name in aliases.BIAS_FLAGS and op.parameter("bias")]
    found = {"affine": affine[:1], "bias": bias[:1]}
    return {flag: name for flag, flagged in found.items() for name in flagged}


def _probed(draft: ModuleAdapter, parameters: list[inspect.Parameter]) -> ModuleAdapter:
    """Build one small module to learn which parameters, buffers and epsilon it has."""
    op = draft.op
    shape = (2, 4) if op.family is Family.ROWS else (2, 4, 3)
    case = Case(op.name, "float32", shape, groups=2 if op.parameter("num_groups") else 1)
    case = expressible(case, op) or case

    try:
        module = draft.module(**draft.arguments(materialise(case)))
    except Exception as error:
        raise TargetError(
            f"{draft.text} raised {type(error).__name__}: {error} when built with "
            f"{draft.binding.describe()}"
        ) from error
    given = {"normalized_shape", "num_groups", "eps", "momentum", op.training_flag}
    given |= {*draft.inputs, *({"group_size"} & set(draft.binding.names))}
    missing = [
        p.name for p in op.parameters if p.name not in given and not _attribute(module, p.name)
    ]
    own_eps: float | None = None
    notes: tuple[str, ...] = ()
    if "eps" not in draft.binding.names:
        missing.append("eps")
        found = [getattr(module, n, None) for n in ("eps", "epsilon", "variance_epsilon")]
        own_eps = next((float(v) for v in found if isinstance(v, (int, float))), op.eps)
        notes = (f"takes no eps: judged at its own, {own_eps:g}",)
    if op.tracks_statistics and "momentum" not in draft.binding.names:
        missing.append("momentum")
    binding = replace(draft.binding, missing=tuple(missing))
    return replace(draft, binding=binding, own_eps=own_eps, notes=notes)
