"""A script that shows a wrong value with torch and the target alone, without normcheck.

Small tensors are written out; larger ones are rebuilt by the generator in a few lines of plain
torch, bit for bit. Every script ends by printing the computed value beside the expected one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.observation import Observation
from normcheck.execution.ranks import OP_ON_RANKS
from normcheck.execution.session import same_bits
from normcheck.execution.way import Way
from normcheck.properties.property import Finding, SpecialCall
from normcheck.properties.trial import Trial
from normcheck.scripted_call import ScriptedCall, can_be_written
from normcheck.scripted_tensors import ScriptedTensors, UnwritableError
from normcheck.scripted_values import scripted
from normcheck.targets.adapter import Adapter, FunctionAdapter
from normcheck.targets.binding import import_lines
from normcheck.targets.module import ModuleAdapter
from normcheck.targets.triton_interpreter import has_interpreted
from normcheck.wording import COHERENT

__all__ = ["reproducer"]


def reproducer(adapter: Adapter, trial: Trial, finding: Finding, name: str = "") -> str:
    """Write the script.

    Args:
        adapter: The target.
        trial: The smallest failing case.
        finding: What is wrong with it.
        name: The property.

    Returns:
        Python source; "" where the finding is not a wrong number of a call that is described, the
        case is a mix too large to write out, or the target works on another framework's arrays, on
        several ranks or in its arguments' memory. Of a target that remembers what it was called
        with, the script of a plain call may show another value.
    """
    if finding.worst is None or not can_be_written(adapter) or adapter.op.name == OP_ON_RANKS:
        return ""
    assert isinstance(adapter, (FunctionAdapter, ModuleAdapter))
    if has_interpreted() and trial.inputs.case.dtype == "bfloat16":
        return ""  # the script would meet the interpreter's own bfloat16
    call = _call(trial, finding, name)
    if call is None:
        return ""
    try:
        body = list(_body(adapter, trial, call, finding))
    except UnwritableError:
        return ""
    first, *more = import_lines(adapter.text)
    lines = [f"import torch; {first}", *more]
    if has_interpreted():
        # Triton asks for it when it is imported.
        lines.insert(0, "import os; os.environ['TRITON_INTERPRET'] = '1'")
    if any(f"{function}(" in line for line in body for function in ("bell", "affine", "hashes")):
        lines += scripted("", trial.inputs).splitlines()
    return "\n".join([*lines, *body])


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _base(finding: Finding) -> str:
    return finding.tensor.removesuffix("_with_gradients")


def _call(trial: Trial, finding: Finding, name: str) -> SpecialCall | None:
    """Return the call that shows a finding; None where it is not known, or is not one call."""
    if finding.call is not None:
        return finding.call
    differ = any(tensor.endswith("_with_gradients") for tensor in trial.comparisons)
    base = _base(finding)
    own = base != finding.tensor or base.startswith("grad_") or not trial.well_formed(trial.forward)
    plain = SpecialCall(trial.inputs, Way(gradients=own), ordinary=not differ)
    if not finding.detail:
        return plain
    return plain if name in COHERENT and _is_shown(trial, finding, own) else None


def _is_shown(trial: Trial, finding: Finding, with_gradients: bool) -> bool:
    """Whether the plain call has the computed value where a finding says."""
    observed = trial.backward if with_gradients else trial.forward
    found, worst = _returned(observed).get(_base(finding)), finding.worst
    if found is None or worst is None:
        return False
    return float(found.flatten()[_flat(trial.inputs, finding)]) == worst.computed


def _body(
    adapter: FunctionAdapter | ModuleAdapter, trial: Trial, call: SpecialCall, finding: Finding
) -> Iterator[str]:
    """Write everything from the tensors to the line that prints."""
    way, given = call.way, call.inputs
    scripted_call = ScriptedCall(adapter, given)
    if way.poisoned:
        yield "torch.set_deterministic_debug_mode('warn')  # torch.empty hands out NaN"
    if not call.ordinary and not way.gradients:
        yield "torch.set_grad_enabled(False)"
    written = None
    for _, alike in groupby(call.earlier, key=id):
        repeated = list(alike)
        inputs = repeated[0]
        yield from _given(adapter, trial, call, inputs, written)
        written, lines = inputs, ScriptedCall(adapter, inputs).called()
        several = f"for _ in range({len(repeated)}):"
        yield from [several, *_indented(lines)] if len(repeated) > 1 else lines
    yield from _given(adapter, trial, call, given, written)
    tensors = ScriptedTensors(given, trial.inputs, dict(way.arranged))
    base = _base(finding)
    leaf = base.removeprefix("grad_") if base.startswith("grad_") else ""
    lines = [*scripted_call.called()]
    if call.between is not None:
        lines += _between(adapter, trial, call, scripted_call.leaf(leaf or "x"))
    if leaf:
        lines += tensors.gradients()
        lines += _differentiated(given, leaf, scripted_call.leaf(leaf))
    entered = _entered(way)
    yield from [entered, *_indented(lines)] if entered else lines
    yield _printed(given, finding, scripted_call) + _unsteady(trial, call, base)


def _unsteady(trial: Trial, call: SpecialCall, tensor: str) -> str:
    """Say so if the value changes from call to call; "" where it does not, or many calls count."""
    if call.earlier or call.between is not None:
        return ""
    # Two rows in a race come out alike in every second call.
    answers = (_returned(trial.call(call.way, call.inputs)).get(tensor) for _ in range(4))
    found = [answer for answer in answers if answer is not None]
    steady = all(same_bits(found[0], answer) for answer in found[1:])
    return "" if steady else "; it changes from call to call"


def _returned(observed: Observation) -> dict[str, Tensor]:
    gradients = {f"grad_{name}": gradient for name, gradient in observed.gradients.items()}
    return {**observed.outputs, **observed.state, **gradients}


def _given(
    adapter: FunctionAdapter | ModuleAdapter,
    trial: Trial,
    call: SpecialCall,
    inputs: Inputs,
    written: Inputs | None,
) -> Iterator[str]:
    """Write the tensors of one call, into those of the call before where they are shared."""
    tensors = ScriptedTensors(inputs, trial.inputs, dict(call.way.arranged))
    scripted_call = ScriptedCall(adapter, inputs)
    if call.shared and written is not None:
        for name, value in inputs.tensors.items():
            if value is not written.tensors[name]:
                yield f"{scripted_call.leaf(name)}.data.copy_({tensors.value(name)})"
        return
    yield from tensors.lines()
    yield from scripted_call.prepared()
    if not call.ordinary or call.way.gradients:
        yield from scripted_call.required(call.way)


def _between(
    adapter: FunctionAdapter | ModuleAdapter, trial: Trial, call: SpecialCall, leaf: str
) -> list[str]:
    """Write another call between the forward and the backward pass of this one."""
    assert call.between is not None, "asked for"
    other = ScriptedCall(adapter, call.between)
    tensors = ScriptedTensors(call.between, trial.inputs, dict(call.way.arranged))
    kept = "m, x" if leaf.startswith("m.") else leaf
    lines = [f"kept = y, {kept}", *tensors.lines(), *other.prepared()]
    return [*lines, *other.required(call.way), *other.called(), f"y, {kept} = kept"]


def _entered(way: Way) -> str:
    """Write the statement under which the call is made, "" where there is none."""
    if way.inference:
        return "with torch.inference_mode():"
    return f"with torch.autocast('cpu', dtype=torch.{way.autocast}):" if way.autocast else ""


def _differentiated(inputs: Inputs, leaf: str, owner: str) -> list[str]:
    count = len(inputs.op.outputs)
    if count == 1:
        return [f"(g_{leaf},) = torch.autograd.grad([y], [{owner}], [dy_0])"]
    # An output that is not attached takes part in no gradient.
    dy = ", ".join(f"dy_{i}" for i in range(count))
    return [
        f"pairs = [(a, dy) for a, dy in zip(y, [{dy}]) if a.requires_grad]",
        f"(g_{leaf},) = torch.autograd.grad([a for a, _ in pairs], [{owner}], "
        "[dy for _, dy in pairs])",
    ]


def _flat(inputs: Inputs, finding: Finding) -> int:
    """Return the place of the worst element among all of its tensor."""
    assert finding.worst is not None, "only measured findings have a reproducer"
    base = _base(finding)
    whole = base in inputs.op.outputs or base.removeprefix("grad_") in ("x", "residual", "z")
    view = inputs.reduction.view if whole else inputs.reduction.affine
    flat = 0
    for index, size in zip(finding.worst.index, view, strict=True):
        flat = flat * size + index
    return flat


def _printed(inputs: Inputs, finding: Finding, call: ScriptedCall) -> str:
    """Write the line that prints the worst element."""
    base, worst = _base(finding), finding.worst
    assert worst is not None, "only measured findings have a reproducer"
    if base in inputs.op.outputs:
        several = len(inputs.op.outputs) > 1
        source = f"y[{inputs.op.outputs.index(base)}]" if several else "y"
    elif base.startswith("grad_"):
        source = f"g_{base.removeprefix('grad_')}"
    else:
        source = call.leaf(base)
    expected = f"  # {worst.computed!r}, but should be {worst.reference!r}"
    return f"print({source}.flatten()[{_flat(inputs, finding)}].item()){expected}"
