"""What scripts are made of: tensors with the same bits in the same memory, and calls in order."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import normcheck
from normcheck.api import make_plan
from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.execution.arrangement import ARRANGEMENTS, arrange
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.numerics.comparison import Worst
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.property import Finding, SpecialCall
from normcheck.properties.trial import Trial
from normcheck.reproducer import reproducer
from normcheck.scripted_tensors import ScriptedTensors, UnwritableError
from normcheck.scripted_values import _REGIMES, scripted

CPU = torch.device("cpu")


def _token(name: str) -> str:
    return {"vareps": "vareps0.5", "const": "const0.1", "narrow": "narrow0.001"}.get(
        name, f"{name}100" if name in ("offset", "scale", "outlier", "padrow") else name
    )


def _rebuilt(inputs: Inputs) -> None:
    """Hold what the lines of all tensors of a case make to the tensors themselves."""
    scope: dict[str, object] = {"torch": torch}
    exec(scripted("", inputs), scope)  # the prelude is our own text
    gradients = {f"d{name}": dy for name, dy in inputs.dy.items()}
    names = sorted({**inputs.tensors, **gradients}, key=lambda name: name != "mask")
    for name in names:
        expected = {**inputs.tensors, **gradients}[name]
        made = scope[name] = eval(scripted(name, inputs), scope)
        assert made.dtype == expected.dtype
        assert torch.equal(made.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0)), name


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", _REGIMES)
def test_script_rebuilds_the_bits_of_every_regime(name: str, dtype: str) -> None:
    _rebuilt(materialise(Case.parse(f"nc1:layer_norm/{dtype}/3x41/{_token(name)}/seed=5")))


@pytest.mark.parametrize(
    "case",
    [
        "nc1:batch_norm/bf16/5x6x7/offset10",
        "nc1:group_norm/f32/3x8x5x2/outlier100/groups=4",
        "nc1:masked_batch_norm/bf16/5x6x7/offset10/seed=2",
        "nc1:masked_batch_norm/f32/5x6x7/plain/seed=3",
        "nc1:masked_batch_norm/f16/1x2x3/plain/mode=eval/seed=4",
        "nc1:rms_norm_gated/f16/5x24/plain/groups=3/seed=1",
        "nc1:qk_layer_norm/bf16/2x1x3x2x5/offset10/seed=1",
        "nc1:ada_layer_norm/f64/2x3x5/plain/seed=1",
        "nc1:weight_norm/f32/5x3x2/plain/seed=1",
        "nc1:add_rms_norm/bf16/5x9/scale100/seed=1",
    ],
)
def test_script_rebuilds_the_bits_of_every_op(case: str) -> None:
    _rebuilt(materialise(Case.parse(case)))


PLAIN = materialise(Case.parse("nc1:layer_norm/f32/5x9/plain/seed=3"))


def _made(writer: ScriptedTensors, name: str) -> Tensor:
    scope: dict[str, object] = {"torch": torch}
    exec("\n".join([scripted("", PLAIN), *writer.assigned(name)]), scope)
    made = scope[name]
    assert isinstance(made, Tensor)
    return made


@pytest.mark.parametrize("how", ARRANGEMENTS)
def test_script_puts_a_tensor_where_it_lay(how: str) -> None:
    case = "nc1:batch_norm/f32/2x3x4x5/plain" if how == "channels_last" else PLAIN.case.id
    inputs = materialise(Case.parse(case))
    expected = arrange(inputs.tensors["x"], how, CPU).tensor
    made = _made(ScriptedTensors(inputs, inputs, {"x": how}), "x")
    assert torch.equal(made, expected)
    assert made.stride() == expected.stride()
    assert made.storage_offset() == expected.storage_offset()
    if how not in ("expanded", "channels_last"):
        memory, wanted = (t.as_strided((t.untyped_storage().nbytes() // 4,), (1,), 0)
                          for t in (made, expected))  # fmt: skip
        assert torch.equal(memory.nan_to_num(7.0), wanted.nan_to_num(7.0))


CHANGES = {
    "torch.bfloat16": lambda t: t.to(torch.bfloat16),
    "* -1.0": lambda t: -t,
    "* 8.0": lambda t: t * 8,
    "* 0.0": lambda t: t * 0,
    "+ -32.0": lambda t: t + -32.0,
    "reshape((45,))": lambda t: t.reshape(45),
    "expand": lambda t: t[:1].expand(5, 9),
}


@pytest.mark.parametrize("text", CHANGES)
def test_script_says_what_was_changed_about_a_tensor(text: str) -> None:
    changed = CHANGES[text](PLAIN.tensors["x"])
    given = PLAIN.with_tensors({**PLAIN.tensors, "x": changed})
    writer = ScriptedTensors(given, PLAIN, {})
    assert text in writer.assigned("x")[0]
    made = _made(writer, "x")
    assert made.dtype == changed.dtype
    assert made.stride() == changed.stride()
    assert torch.equal(made, changed)


def test_what_no_line_makes_is_written_out_up_to_a_page() -> None:
    mixed = materialise(Case.parse("nc1:layer_norm/f32/4x50/mix"))
    assert torch.equal(_made(ScriptedTensors(mixed, mixed, {}), "x"), mixed.tensors["x"])
    large = materialise(Case.parse("nc1:layer_norm/f32/4x500/mix"))
    with pytest.raises(UnwritableError):
        ScriptedTensors(large, large, {}).value("x")


def _printed(script: str, folder: Path) -> float:
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _trial(name: str, case: str) -> Trial:
    mode = catalogue.find(name)
    plan = make_plan(mode.target, op=mode.op, dtypes=[mode.dtype], profile="quick")
    executor = InProcess(plan.adapter, plan.device, plan.policy, Watchdog(60.0))
    return Trial(materialise(Case.parse(case)), executor, plan.policy, RoundingChoice())


def _found(tensor: str, values: Tensor, call: SpecialCall) -> Finding:
    """A finding about the first element of a tensor."""
    computed = float(values.flatten()[0])
    worst = Worst(2.0, (0,) * len(call.inputs.reduction.view), computed, 0.0, 0.0, 0.0, 1.0, 1.0)
    return Finding(tensor, "told in words", worst, call=call)


def test_script_changes_tensors_in_place(tmp_path: Path) -> None:
    trial = _trial("layer_norm_weight_cached_by_identity", "nc1:layer_norm/f32/2x4/plain")
    other = materialise(trial.inputs.case.changed(seed=99))
    session = trial.session(Way())
    session.run()
    session.load(other)
    observed = session.run()
    right = trial.call(Way(), other)
    call = SpecialCall(other, Way(), (trial.inputs,), shared=True)
    script = reproducer(trial.adapter, trial, _found("y", observed.outputs["y"], call))
    assert not torch.equal(observed.outputs["y"], right.outputs["y"])
    assert _printed(script, tmp_path) == float(observed.outputs["y"].flatten()[0])


def test_script_calls_as_often_as_it_takes(tmp_path: Path) -> None:
    trial = _trial("layer_norm_eleventh_call", "nc1:layer_norm/f32/1x2/plain/eps=1.0")
    session = trial.session(Way())
    first, *_, last = [session.run() for _ in range(11)]
    call = SpecialCall(trial.inputs, Way(), (trial.inputs,) * 10, shared=True)
    script = reproducer(trial.adapter, trial, _found("y", last.outputs["y"], call))
    assert "for _ in range(10):" in script
    assert not torch.equal(first.outputs["y"], last.outputs["y"])
    assert _printed(script, tmp_path) == float(last.outputs["y"].flatten()[0])


def test_script_calls_between_forward_and_backward(tmp_path: Path) -> None:
    trial = _trial("layer_norm_root_of_the_latest_call", "nc1:layer_norm/f32/2x4/plain")
    way, other = Way(gradients=True), materialise(trial.inputs.case.changed(seed=99))
    first, second = trial.session(way), trial.session(way, other)
    first.forward()
    second.forward()
    gradient = first.backward().gradients["x"]
    call = SpecialCall(trial.inputs, way, between=other)
    script = reproducer(trial.adapter, trial, _found("grad_x", gradient, call))
    assert not torch.equal(gradient, trial.backward.gradients["x"])
    assert _printed(script, tmp_path) == float(gradient.flatten()[0])


def test_script_enters_autocast_and_inference_mode(tmp_path: Path) -> None:
    name = "layer_norm_autocast_before_statistics"
    trial = _trial(name, "nc1:layer_norm/f32/2x4/offset100")
    for way in (Way(autocast="bfloat16"), Way(inference=True), Way(poisoned=True)):
        observed = trial.call(way).outputs["y"]
        found = _found("y", observed, SpecialCall(trial.inputs, way))
        script = reproducer(trial.adapter, trial, found)
        assert _printed(script, tmp_path) == float(observed.flatten()[0])


MODULE = """
import torch
class Norm(torch.nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.gamma, self.eps = torch.nn.Parameter(torch.ones(dim)), eps
    def forward(self, x):
        return x / (x.square().mean(-1, keepdim=True).sqrt() + self.eps) * self.gamma.detach()
class Frozen(Norm):
    def forward(self, x):
        root = (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return x * root * (2 * self.gamma - self.gamma.detach())
def into(x, weight, eps, out):
    out.copy_(x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * weight)
"""


@pytest.mark.parametrize(
    ("target", "prop"),
    [("Norm", "forward_accuracy"), ("Frozen", "gradients"), ("into", "forward_accuracy")],
)
def test_modules_and_targets_that_write_have_scripts(
    target: str, prop: str, tmp_path: Path
) -> None:
    (tmp_path / "norms.py").write_text(MODULE)
    record = normcheck.run(
        f"{tmp_path}/norms.py:{target}", op="rms_norm", dtypes=["float32"], profile="quick",
        properties=[prop], fail_fast=True, verdict_only=True,
    )  # fmt: skip
    failure = record.checks[0].failures[0]
    assert failure.computed is not None
    assert _printed(failure.reproducer, tmp_path) == failure.computed


def test_words_about_another_call_give_no_script_of_the_plain_one() -> None:
    trial = _trial("layer_norm_eps_outside", "nc1:layer_norm/f32/2x4/plain")
    found = trial.compared("y")
    assert found is not None
    worst = found[1].worst
    assert worst is not None
    about = Finding("y", "in words", worst)
    assert reproducer(trial.adapter, trial, about) == ""
    assert reproducer(trial.adapter, trial, about, "implied_statistics") != ""
    other = replace(about, worst=replace(worst, computed=123.0))
    assert reproducer(trial.adapter, trial, other, "implied_statistics") == ""
