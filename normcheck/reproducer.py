"""A script that shows a wrong value with torch and the target alone, without normcheck.

Small tensors are written out; larger ones are rebuilt by the generator in a few lines of plain
torch, bit for bit. Every script ends by printing the computed value beside the expected one.
"""

from __future__ import annotations

from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.properties.property import Finding
from normcheck.properties.trial import Trial
from normcheck.scripted_values import scripted
from normcheck.targets.adapter import Adapter, FunctionAdapter
from normcheck.targets.binding import import_lines
from normcheck.targets.module import ModuleAdapter

__all__ = ["reproducer"]

LITERAL_ELEMENTS = 24


def _literal(tensor: Tensor) -> str:
    values = str(tensor.tolist()).replace("nan", "float('nan')").replace("inf", "float('inf')")
    return f"torch.tensor({values}, dtype={tensor.dtype})"


class _UnwritableError(Exception):
    """No line of plain torch rebuilds a tensor of the case."""


def _value(name: str, tensor: Tensor, inputs: Inputs) -> str:
    """Write a tensor as an expression: its values, or the generator that makes them."""
    if 0 < tensor.numel() <= LITERAL_ELEMENTS:
        return _literal(tensor)
    text = scripted(name, inputs)
    if not text:
        raise _UnwritableError
    return text


def _tensor(name: str, tensor: Tensor, inputs: Inputs) -> list[str]:
    """Assign one tensor of the case."""
    lines = [f"{name} = {_value(name, tensor, inputs)}"]
    if name == "x" and inputs.case.layout == "channels_last":
        last = "channels_last" if tensor.dim() == 4 else "channels_last_3d"
        lines.append(f"x = x.contiguous(memory_format=torch.{last})")
    if name in ("x", "residual") and inputs.case.layout == "strided":
        lines.append(f"{name} = {name}.repeat_interleave(2, -1)[..., ::2]")
    if name in ("x", "residual") and inputs.case.layout == "pitched":
        lines.append(f"{name} = torch.nn.functional.pad({name}, (0, 3))[..., :{tensor.shape[-1]}]")
    return lines


def _call(adapter: FunctionAdapter, inputs: Inputs) -> str:
    """Write the call of a function."""
    binding, case = adapter.binding, inputs.case
    arguments = {name: repr(value) for name, value in binding.fixed.items()}
    if binding.axis:
        arguments[binding.axis] = "-1"
    for own, mine in binding.names.items():
        shape = inputs.normalized_shape
        momentum = 1 - case.momentum if adapter.policy.momentum == "old" else case.momentum
        known = {
            "normalized_shape": repr(shape if "shape" in mine else shape[0]),
            "num_groups": repr(case.groups),
            "training": repr(case.mode == "train"),
            "use_input_stats": repr(case.mode == "train"),
            "momentum": repr(momentum),
            "eps": repr(inputs.eps),
        }
        arguments[mine] = known.get(own, own if own in inputs.tensors else "None")
    # A default in the middle of what cannot be named has to be repeated.
    first = [arguments.pop(n, binding.defaults.get(n, "None")) for n in binding.positional]
    text = ", ".join([*first, *(f"{name}={value}" for name, value in arguments.items())])
    return f"{adapter.text.rpartition(':')[2]}({text})"


def _module(adapter: ModuleAdapter, inputs: Inputs) -> list[str]:
    """Write the construction of a module, with the case's parameters."""
    arguments = adapter.arguments(inputs)
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    lines = [f"m = {adapter.text.rpartition(':')[2]}({text}).to(x.dtype)"]
    lines.append(f"m.train({inputs.case.mode == 'train'})")
    owned = adapter.attributes(inputs)
    lines += [f"m.{attribute}.data.copy_({name})" for name, attribute in owned.items()]
    return lines


def _shown(trial: Trial, finding: Finding) -> list[str]:
    """Write the lines that compute the wrong tensor from ``y`` and print its worst element."""
    worst = finding.worst
    assert worst is not None, "only measured findings have a reproducer"
    tensor = finding.tensor.removesuffix("_with_gradients")
    view = _view(trial.inputs, tensor)
    flat = 0
    for index, size in zip(worst.index, view, strict=True):
        flat = flat * size + index
    expected = f"  # {worst.computed!r}, but should be {worst.reference!r}"
    if tensor in trial.inputs.op.outputs:
        position = trial.inputs.op.outputs.index(tensor)
        source = f"y[{position}]" if len(trial.inputs.op.outputs) > 1 else "y"
        return [f"print({source}.flatten()[{flat}].item()){expected}"]
    if tensor.startswith("running_"):
        return [f"print({tensor}.flatten()[{flat}].item()){expected}"]
    leaf = tensor.removeprefix("grad_")
    return [f"print(g_{leaf}.flatten()[{flat}].item()){expected}"]


def _view(inputs: Inputs, tensor: str) -> tuple[int, ...]:
    whole = tensor in inputs.op.outputs or tensor in ("grad_x", "grad_residual")
    return inputs.reduction.view if whole else inputs.reduction.affine


def _backward(inputs: Inputs, leaf: str, owner: str) -> list[str]:
    """Write the differentiation."""
    dy = [f"dy_{i}" for i in range(len(inputs.op.outputs))]
    lines = []
    for name, own in zip(dy, inputs.op.outputs, strict=True):
        lines.append(f"{name} = {_value(f'd{own}', inputs.dy[own], inputs)}")
    outputs = "list(y)" if len(dy) > 1 else "[y]"
    lines.append(f"(g_{leaf},) = torch.autograd.grad({outputs}, [{owner}], [{', '.join(dy)}])")
    return lines


def _body(adapter: FunctionAdapter | ModuleAdapter, inputs: Inputs, tensor: str) -> list[str]:
    """Write everything from the tensors to ``y``, and the gradient where one is wrong."""
    lines: list[str] = []
    for name, value in inputs.tensors.items():
        lines += _tensor(name, value, inputs)
    leaf = tensor.removeprefix("grad_") if tensor.startswith("grad_") else ""
    attributes: dict[str, str] = {}
    if isinstance(adapter, ModuleAdapter):
        lines += _module(adapter, inputs)
        attributes = adapter.attributes(inputs)
        named = [name for name in ("x", "residual") if name in inputs.tensors]
        call = f"m({', '.join(named)})"
    else:
        call = _call(adapter, inputs)
    if leaf and leaf not in attributes:
        lines.append(f"{leaf}.requires_grad_()")
    lines.append(f"y = {call}")
    if leaf:
        lines += _backward(inputs, leaf, f"m.{attributes[leaf]}" if leaf in attributes else leaf)
    if tensor in attributes:
        lines.append(f"{tensor} = m.{attributes[tensor]}")
    return lines


def _can_be_written(adapter: Adapter) -> bool:
    """Whether a few lines of torch can call the target."""
    if isinstance(adapter, FunctionAdapter):
        returns = not adapter.binding.destinations and not adapter.policy.inplace
        return returns and adapter.framework.name == "torch"
    return isinstance(adapter, ModuleAdapter)


def reproducer(adapter: Adapter, trial: Trial, finding: Finding) -> str:
    """Write the script.

    Args:
        adapter: The target.
        trial: The smallest failing case.
        finding: What is wrong with it.

    Returns:
        Python source; "" where the finding is not a wrong number, the case is a mix too large to
        write out, or the target works on another framework's arrays or writes to its arguments.
    """
    if finding.worst is None or not _can_be_written(adapter):
        return ""
    assert isinstance(adapter, (FunctionAdapter, ModuleAdapter))
    tensor = finding.tensor.removesuffix("_with_gradients")
    try:
        body = _body(adapter, trial.inputs, tensor)
    except _UnwritableError:
        return ""
    lines = ["import torch", *import_lines(adapter.text)]
    if any(f"{name}(" in line for line in body for name in ("bell", "affine", "hashes")):
        lines += scripted("", trial.inputs).splitlines()
    return "\n".join([*lines, *body, *_shown(trial, finding)])
