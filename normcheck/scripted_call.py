"""The call of a target as lines of plain torch."""

from __future__ import annotations

from normcheck.cases.materialise import Inputs
from normcheck.execution.way import Way
from normcheck.ops.op import Kind
from normcheck.targets.adapter import Adapter, FunctionAdapter, argument
from normcheck.targets.module import ModuleAdapter

__all__ = ["ScriptedCall", "can_be_written"]


def can_be_written(adapter: Adapter) -> bool:
    """Return whether a few lines of torch, in one process, can call the target."""
    if isinstance(adapter, FunctionAdapter):
        return not adapter.policy.inplace and adapter.framework.name == "torch"
    return isinstance(adapter, ModuleAdapter)


class ScriptedCall:
    """Writes one call; the tensors are variables under the op's names.

    Attributes:
        attributes: What a module calls the parameters and buffers that it owns.
    """

    def __init__(self, adapter: FunctionAdapter | ModuleAdapter, inputs: Inputs) -> None:
        self.adapter, self.inputs = adapter, inputs
        self.attributes: dict[str, str] = {}
        if isinstance(adapter, ModuleAdapter):
            self.attributes = adapter.attributes(inputs)

    @property
    def _name(self) -> str:
        return self.adapter.text.rpartition(":")[2]

    def prepared(self) -> list[str]:
        """Write what comes before the call: a module, or memory for the outputs."""
        adapter, inputs = self.adapter, self.inputs
        if isinstance(adapter, ModuleAdapter):
            text = ", ".join(
                f"{name}={value!r}" for name, value in adapter.arguments(inputs).items()
            )
            lines = [f"m = {self._name}({text}).to(x.dtype)"]
            lines.append(f"m.train({inputs.case.mode == 'train'})")
            lines += [f"m.{mine}.data.copy_({own})" for own, mine in self.attributes.items()]
            return lines
        if adapter.binding.destinations:
            return [f"{name} = torch.full_like(x, float('nan'))" for name in inputs.op.outputs]
        return []

    def required(self, way: Way) -> list[str]:
        """Write which tensors require a gradient: one line, or none."""
        wanted = [
            p.name
            for p in self.inputs.op.tensors
            if way.gradients
            and p.differentiable
            and p.name in self.inputs.tensors
            and (way.wanted is None or p.name in way.wanted)
        ]
        leaves = [f"{name}.requires_grad_()" for name in wanted if name not in self.attributes]
        given = ["; ".join(leaves)] if leaves else []
        buffers = ("running_mean", "running_var")
        frozen = [
            f"m.{mine}.requires_grad_(False)"
            for own, mine in self.attributes.items()
            if own not in wanted and own not in buffers
        ]
        return ["; ".join(given + frozen)] if given + frozen else []

    def leaf(self, name: str) -> str:
        """Return the variable that holds a parameter or a buffer."""
        return f"m.{self.attributes[name]}" if name in self.attributes else name

    def called(self) -> list[str]:
        """Write the call; what the op returns is ``y``, a tuple where it has several outputs."""
        adapter, outputs = self.adapter, self.inputs.op.outputs
        if isinstance(adapter, ModuleAdapter):
            named = [name for name in adapter.inputs if name in self.inputs.tensors]
            given = [f"{adapter.inputs[n]}={n}" if adapter.inputs[n] else n for n in named]
            return [f"y = m({', '.join(given)})"]
        call = f"{self._name}({self._arguments(adapter)})"
        if adapter.binding.destinations:
            together = f"({', '.join(outputs)})"
            return [call, f"y = {together}"] if len(outputs) > 1 else [call]
        return [f"y = torch.stack({call})" if adapter.op.parts_of("y") else f"y = {call}"]

    def _arguments(self, adapter: FunctionAdapter) -> str:
        binding = adapter.binding
        arguments = {name: repr(value) for name, value in binding.fixed.items()}
        if binding.axis:
            arguments[binding.axis] = repr(adapter.op.axis)
        for own, mine in binding.names.items():
            arguments[mine] = self._argument(adapter, own, mine)
        places = [
            f"{name}[{i}]" if adapter.op.parts_of(name) else name
            for name in adapter.op.outputs
            for i in range(len(adapter.op.parts_of(name)) or 1)
        ]
        arguments.update(zip(binding.destinations, places, strict=False))
        # A default in the middle of what cannot be named has to be repeated.
        first = [arguments.pop(n, binding.defaults.get(n, "None")) for n in binding.positional]
        return ", ".join([*first, *(f"{name}={value}" for name, value in arguments.items())])

    def _argument(self, adapter: FunctionAdapter, own: str, mine: str) -> str:
        """Write the value of one of the op's parameters, or of a part of one."""
        for stacked, parts in adapter.op.parts:
            if own in parts:
                held = stacked in self.inputs.tensors
                return f"{stacked}[{parts.index(own)}]" if held else "None"
        parameter = adapter.op.parameter(own)
        if parameter is not None and parameter.kind is not Kind.TENSOR:
            return repr(argument(own, mine, self.inputs, {}, adapter.policy))
        return own if own in self.inputs.tensors else "None"
