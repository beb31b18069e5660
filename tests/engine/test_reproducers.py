"""Printed scripts run without normcheck, show the stated value, and rebuild inputs exactly."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import normcheck
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.properties.failure_modes import catalogue
from normcheck.scripted_values import _REGIMES, scripted

# One wrong output, one wrong gradient of each kind, one wrong buffer, and a row too long to write
# out; over functions of several ops.
NAMES = (
    "layer_norm_one_pass_variance",
    "layer_norm_truncated_row",
    "layer_norm_no_projection_term",
    "layer_norm_low_precision_sums",
    "group_norm_per_channel",
    "batch_norm_biased_running_variance",
    "add_rms_norm_residual_not_returned",
    "l2_norm_eps_inside",
)


@pytest.mark.parametrize("name", NAMES)
def test_script_shows_the_stated_value_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    mode = catalogue.find(name)
    record = normcheck.run(
        mode.target, op=mode.op, profile="quick", properties=[mode.caught_by], dtypes=["bfloat16"]
    )
    failure = record.checks[0].failures[0]
    script = tmp_path / "repro.py"
    script.write_text(failure.reproducer)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    stated = failure.reproducer.rpartition("# ")[2].partition(",")[0]
    assert float(done.stdout) == float(stated) == failure.computed


def _token(name: str) -> str:
    return {"vareps": "vareps0.5", "const": "const0.1", "narrow": "narrow0.001"}.get(
        name, f"{name}100" if name in ("offset", "scale", "outlier", "padrow") else name
    )


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", _REGIMES)
def test_script_rebuilds_the_bits_of_every_regime(name: str, dtype: str) -> None:
    inputs = materialise(Case.parse(f"nc1:layer_norm/{dtype}/3x41/{_token(name)}/seed=5"))
    scope: dict[str, object] = {"torch": torch}
    exec(scripted("", inputs), scope)  # the prelude is our own text
    for tensor in ("x", "weight", "bias", "dy"):
        expected = inputs.dy["y"] if tensor == "dy" else inputs.tensors[tensor]
        rebuilt = eval(scripted(tensor, inputs), scope)
        assert rebuilt.dtype == expected.dtype
        assert torch.equal(rebuilt.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))


@pytest.mark.parametrize(
    "case",
    ["nc1:batch_norm/bf16/5x6x7/offset10", "nc1:group_norm/f32/3x8x5x2/outlier100/groups=4"],
)
def test_script_rebuilds_the_bits_of_channel_ops(case: str) -> None:
    inputs = materialise(Case.parse(case))
    scope: dict[str, object] = {"torch": torch}
    exec(scripted("", inputs), scope)
    for tensor, expected in {**inputs.tensors, "dy": inputs.dy["y"]}.items():
        assert torch.equal(eval(scripted(tensor, inputs), scope), expected)


def test_an_id_fails_alike_in_a_fresh_process() -> None:
    mode = catalogue.find("layer_norm_one_pass_variance")
    record = normcheck.run(
        mode.target, op=mode.op, profile="quick", properties=[mode.caught_by], dtypes=["float32"]
    )
    failure = record.checks[0].failures[0]
    probe = (
        "from normcheck.cases.case import Case\n"
        "from normcheck.cases.materialise import materialise\n"
        f"print(materialise(Case.parse({failure.case!r})).digest())\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == failure.digest
