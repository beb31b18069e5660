"""Our kernels are targets like any: the suite judges them, in Triton's interpreter."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from normcheck import api
from normcheck.bench.contenders import contenders
from normcheck.bench.settings import Implementation, Settings
from normcheck.kernels.add_rms_norm import add_rms_norm
from normcheck.kernels.l2_norm import l2_norm
from normcheck.kernels.layer_norm import layer_norm
from normcheck.kernels.rms_norm import rms_norm
from normcheck.ops import catalogue
from normcheck.plugin.benchmarks import timings
from normcheck.plugin.planning import Planned
from normcheck.policy import Policy
from normcheck.record import Record, Verdict
from normcheck.targets.own_kernels import kernel_of
from normcheck.targets.target import load
from tests.fresh_process import run_python

TARGETS = Path(__file__).with_name("interpreted.py")
OPS = (
    "layer_norm", "rms_norm", "l2_norm", "qk_norm", "add_rms_norm", "add_layer_norm", "group_norm",
    "batch_norm",
)  # fmt: skip
ACCURACY = ("forward_accuracy", "gradients", "implied_statistics")
# Each in one format, by turns, by what tells accuracy, and the one that is asked most often by all
# properties; `make kernels` judges all by all, in all formats, in standard.
TURNS = [
    ("rms_norm", "rms_norm", "bfloat16", ()),
    ("layer_norm", "layer_norm", "float16", ()),
    ("add_rms_norm", "add_rms_norm", "float32", ()),
    ("add_layer_norm", "add_layer_norm", "bfloat16", ()),
    ("l2_norm", "l2_norm", "float64", ()),
    ("qk_norm", "qk_norm", "bfloat16", ()),
    ("group_norm", "group_norm", "bfloat16", ()),
    ("batch_norm", "batch_norm", "float16", ()),
    ("strict_layer_norm", "layer_norm", "float32", ()),
    ("rms_norm_cast_then_scale", "rms_norm", "bfloat16", ("rounding=cast_then_scale",)),
    ("rms_norm_zero_centered", "rms_norm", "bfloat16", ("weight=one_plus",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "op", "dtype", "policies"), TURNS, ids=[name for name, *_ in TURNS]
)
def test_a_kernel_passes(
    name: str, op: str, dtype: str, policies: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("triton")
    declared = [word for policy in policies for word in ("--policy", policy)]
    if name != "rms_norm":
        told = (*ACCURACY, *(("running_statistics",) if op == "batch_norm" else ()))
        declared += [word for prop in told for word in ("--property", prop)]
    written = tmp_path / "record.json"
    words = ["--op", op, "--dtype", dtype, "--profile", "quick", "--verdict-only", *declared]
    words += ["--json", str(written)]
    done = run_python(["-m", "normcheck", "run", f"{TARGETS}:{name}", *words], tmp_path, os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    record = Record.model_validate_json(written.read_text(encoding="utf-8"))
    assert record.verdict is Verdict.PASS
    # What a kernel refuses is not judged: an error of ours would hide there.
    refused = [each.message for each in record.unsupported]
    assert all("training takes more than 1 value per channel" in text for text in refused), refused


@pytest.mark.parametrize("op", OPS)
def test_what_answers_without_a_gpu_passes_too(op: str) -> None:
    record = api.run(
        f"normcheck.kernels.{op}:{op}", op=op, dtypes=["bfloat16", "float32"], profile="quick",
        properties=ACCURACY, verdict_only=True,
    )  # fmt: skip
    assert record.verdict is Verdict.PASS
    assert record.cases_judged > 40


@pytest.mark.parametrize("op", OPS)
def test_a_kernel_is_what_others_are_compared_with_on_a_gpu(op: str) -> None:
    pytest.importorskip("triton")
    target = kernel_of(op, "cuda:1")
    assert target == f"normcheck.kernels.{op}:{op}"
    assert load(target, catalogue.find(op), Policy.parse(())).written is not None
    # On a CPU torch's own operators would be compared under another name.
    assert kernel_of(op, "cpu") == ""
    beside, _ = contenders(Settings(Implementation("torch.nn.functional:rms_norm"), op="rms_norm",
                                    device="cuda"))  # fmt: skip
    assert "normcheck.kernels.rms_norm:rms_norm" in [each.name for each in beside]


def test_on_a_gpu_the_plugin_times_the_kernel_too() -> None:
    pytest.importorskip("triton")
    plan = api.make_plan("torch.nn.functional:rms_norm", dtypes=["float32"])
    # Neither is asked for anything: which timings there are follows from the plan.
    unasked: Any = None
    on_cpu = timings(unasked, Planned(unasked, plan, "place"))
    assert {timing.rival for timing in on_cpu} == {"target", "torch", "compiled"}
    there = replace(plan, device=torch.device("cuda"))
    on_gpu = timings(unasked, Planned(unasked, there, "place"))
    assert {timing.rival for timing in on_gpu} == {"target", "torch", "compiled", "kernel"}


def test_what_auto_is_is_asked_in_another_process() -> None:
    """Once CUDA was asked for its devices, no child of a fork can use them."""
    pytest.importorskip("triton")
    words = "import sys\nfrom normcheck.targets.own_kernels import kernel_of\n"
    words += "sys.stdout.write(repr([kernel_of('rms_norm', 'auto'), 'torch' in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    expected = kernel_of("rms_norm", "cuda") if torch.cuda.is_available() else ""
    assert done.stdout == repr([expected, False])


def test_an_op_without_a_kernel_has_none() -> None:
    assert kernel_of("weight_norm", "cuda") == ""


def test_the_page_runs() -> None:
    page = (TARGETS.parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found: dict[str, torch.Tensor] = {}
    exec(compile(program, "kernels.md", "exec"), found)
    x = found["x"]
    assert torch.equal(found["residual"], 2 * x)
    exact = torch.nn.functional.rms_norm(2 * x.double(), (256,), eps=1e-6)
    torch.testing.assert_close(found["y"].double(), exact, rtol=1e-5, atol=1e-6)


def test_without_a_gpu_torchs_operators_answer() -> None:
    x = torch.randn(3, 8, dtype=torch.bfloat16, requires_grad=True)
    weight, bias = torch.randn(8, dtype=torch.bfloat16), torch.randn(8, dtype=torch.bfloat16)
    exact = torch.nn.functional.layer_norm(x.double(), (8,), weight.double(), bias.double())
    y = layer_norm(x, None, weight, bias)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-6)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert dx.dtype == torch.bfloat16
    y, total = add_rms_norm(x.detach(), x.detach(), zero_centered=True, weight=weight)
    assert torch.equal(total, 2 * x.detach())
    exact = torch.nn.functional.rms_norm(total.double(), (8,), weight.double() + 1, 1e-6)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-6)
    assert torch.equal(l2_norm(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "exact"}, "mode is 'exact', but must be fast or strict"),
        ({"rounding": "none"}, "rounding is 'none', but must be fused or cast_then_scale"),
        ({"normalized_shape": (5,)}, r"x is \(3, 8\), but must end with normalized_shape \(5,\)"),
        ({"weight": torch.ones(7)}, r"weight is \(7,\), but must be \(8,\)"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rms_norm(torch.ones(3, 8), **arguments)  # type: ignore[arg-type]


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"x is torch\.int64, but must be floating point"):
        rms_norm(torch.ones(3, 8, dtype=torch.int64))
