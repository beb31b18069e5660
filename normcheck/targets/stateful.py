"""A target as its users keep it: one module, or one pair of buffers, through many calls.

Elsewhere every call gets a module and buffers of its own. Here what a call leaves behind is there
at the next one, so that lost, doubled and uncalled-for updates show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs
from normcheck.ops.op import Op
from normcheck.targets.adapter import Adapter, named
from normcheck.targets.binding import Binding
from normcheck.targets.frameworks import Call, TorchCall
from normcheck.targets.module import ModuleAdapter

__all__ = ["BUFFERS", "Stateful", "averages_cumulatively"]

BUFFERS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"


class Stateful:
    """An adapter whose buffers, and whose module if it has one, live from call to call.

    The first call brings weight, bias and buffers of its case; later calls bring ``x`` and the
    settings (mode; of a function also momentum) and find the rest as the last call left it.

    Attributes:
        adapter: The target.
        cumulative: Whether its module is built with ``momentum=None``: a cumulative average.
    """

    def __init__(self, adapter: Adapter, *, cumulative: bool = False) -> None:
        self.adapter, self.cumulative = adapter, cumulative
        self._module: nn.Module | None = None
        self._attributes: Mapping[str, str] = {}
        self._buffers: dict[str, Tensor] = {}

    @property
    def written(self) -> object:
        """The target's own."""
        return self.adapter.written

    @property
    def text(self) -> str:
        """What the user called the target."""
        return self.adapter.text

    @property
    def op(self) -> Op:
        """The op that it is judged as."""
        return self.adapter.op

    @property
    def binding(self) -> Binding:
        """How its parameters were bound."""
        return self.adapter.binding

    @property
    def notes(self) -> tuple[str, ...]:
        """What it cannot express, in words."""
        return self.adapter.notes

    def conform(self, case: Case) -> Case:
        """Return the nearest case that the target can express."""
        return self.adapter.conform(case)

    def prepare(self, inputs: Inputs, tensors: Mapping[str, Tensor]) -> Call:
        """Make ready to call; buffers among ``tensors`` give way to the kept ones."""
        if isinstance(self.adapter, ModuleAdapter):
            return self._prepare_module(self.adapter, inputs, tensors)
        call = self.adapter.prepare(inputs, {**tensors, **self._buffers})
        self._buffers = {name: call.tensors[name] for name in BUFFERS if name in call.tensors}
        return call

    def _prepare_module(
        self, adapter: ModuleAdapter, inputs: Inputs, tensors: Mapping[str, Tensor]
    ) -> Call:
        if self._module is None:
            self._module = self._built(adapter, inputs, tensors)
        module = self._module
        module.train(inputs.case.mode == "train")
        owned = {name: getattr(module, mine) for name, mine in self._attributes.items()}
        for name, own in owned.items():
            if isinstance(own, nn.Parameter) and name in tensors:
                own.requires_grad_(tensors[name].requires_grad)
        given = [p.name for p in self.op.tensors if p.is_input and p.name in tensors]

        def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
            returned = module(*(arguments[name] for name in given))
            return named(returned, self.op, self.text, lambda item: isinstance(item, Tensor))

        owned |= {name: tensors[name] for name in given}
        return TorchCall(run, {name: name for name in given}, owned)

    def _built(
        self, adapter: ModuleAdapter, inputs: Inputs, tensors: Mapping[str, Tensor]
    ) -> nn.Module:
        arguments = adapter.arguments(inputs)
        if self.cumulative:
            arguments[adapter.binding.names["momentum"]] = None
        module = adapter.module(**arguments)
        module = module.to(device=tensors["x"].device, dtype=tensors["x"].dtype)
        self._attributes = adapter.attributes(inputs)
        with torch.no_grad():
            for name, mine in self._attributes.items():
                own: Tensor = getattr(module, mine)
                own.copy_(tensors[name].reshape(own.shape))
        return module

    @property
    def counter(self) -> int | None:
        """Training calls that the module says it has seen; None where it does not say."""
        found = getattr(self._module, _COUNTER, None)
        return int(found) if isinstance(found, Tensor) and found.numel() == 1 else None

    def state(self) -> dict[str, Tensor]:
        """Copy the buffers as they are now, on the CPU."""
        found = self._buffers
        if self._module is not None:
            attributes = {n: a for n, a in self._attributes.items() if n in BUFFERS}
            found = {name: getattr(self._module, mine) for name, mine in attributes.items()}
        return {name: buffer.detach().cpu().clone() for name, buffer in found.items()}

    def save(self) -> dict[str, Tensor]:
        """Return what a user would save: a module's state dict, or copies of the buffers."""
        live = self._buffers if self._module is None else self._module.state_dict()
        return {name: tensor.detach().clone() for name, tensor in live.items()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Load what `save` returned, as a user would."""
        if self._module is not None:
            self._module.load_state_dict(saved)
            return
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                buffer.copy_(saved[name])

    def move(self) -> None:
        """Put the state into new memory, as converting a module to float64 and back does."""
        self._buffers = {name: buffer.detach().clone() for name, buffer in self._buffers.items()}
        if self._module is not None and self._attributes:
            dtype: torch.dtype = getattr(self._module, next(iter(self._attributes.values()))).dtype
            self._module.to(torch.float64)
            self._module.to(dtype)


def averages_cumulatively(adapter: Adapter, inputs: Inputs) -> bool:
    """Return whether a module class claims a cumulative average for ``momentum=None``.

    It does by keeping a counter. instance_norm is no such claim: torch counts nothing there.

    Args:
        adapter: The target.
        inputs: A case with buffers.
    """
    if not isinstance(adapter, ModuleAdapter) or "momentum" not in adapter.binding.names:
        return False
    if adapter.policy.momentum == "old" or 0 not in inputs.reduction.over:
        return False
    arguments = {**adapter.arguments(inputs), adapter.binding.names["momentum"]: None}
    try:
        module = adapter.module(**arguments)
    except Exception:
        return False  # None is not a momentum that it knows
    return isinstance(getattr(module, _COUNTER, None), Tensor)
