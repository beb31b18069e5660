"""Printed scripts run without normcheck and show the stated value; ids fail alike anywhere.

Mutants are judged here; their scripts and their cases are run again in fresh processes.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest
import torch

import normcheck
from normcheck.api import make_plan
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.execution.in_process import InProcess
from normcheck.execution.ranks import OP_ON_RANKS
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops import catalogue as ops
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.properties.trial import Trial
from normcheck.ratio import ratio_text
from normcheck.record import Failure
from normcheck.reproducer import reproducer
from normcheck.wording import MOST_LINES

# Their findings are numbers of the plain call.
PLAIN = ("forward_accuracy", "gradients", "running_statistics")
EVERY = 6
# What they print depends on calls of other cases, or on chance.
FICKLE = ("layer_norm_root_cached_by_shape", "layer_norm_lost_partial_sum")
MODES = [
    mode
    for op in ops.names()
    if op != OP_ON_RANKS
    for mode in [m for m in catalogue.of_op(op) if m.caught_by in PLAIN and m.profile == "quick"][
        ::EVERY
    ]
]
# What else a script can say: one output of two without a gradient, a row too long to write out,
# a call that differs with gradients enabled, and the other kinds of tensors.
MODES += [
    catalogue.find("add_layer_norm_sum_gradient_dropped"),
    catalogue.find("rms_norm_bfloat16_partial_sums"),
    catalogue.find("batch_norm_mean_through_half"),
    catalogue.find("batch_norm_channels_last_as_contiguous"),
    catalogue.find("add_layer_norm_residual_gradient_twice"),
    catalogue.find("rms_norm_gated_slope_of_gate_is_sigmoid"),
    catalogue.find("layer_norm_truncated_row"),
    catalogue.find("layer_norm_eps_lost_without_gradients"),
    catalogue.find("layer_norm_one_pass_with_gradients"),
]
# A layout of weight, of x and of dy; an offset; a broadcast dy; a slice's statistics.
SPECIAL = [
    catalogue.find(name)
    for name in (
        "layer_norm_weight_stride_ignored",
        "layer_norm_misaligned_pointer",
        "layer_norm_weight_offset_ignored",
        "layer_norm_expanded_dy_misread",
        "batch_norm_dy_read_in_storage_order",
        "layer_norm_eps_lost_in_inference_mode",
        "layer_norm_autocast_before_statistics",
        "layer_norm_input_gradient_needs_weight",
        "layer_norm_parameter_bits_reinterpreted",
        "layer_norm_output_cached_by_address",
        "layer_norm_root_of_the_latest_call",
        "layer_norm_coherent_scale",
        "layer_norm_coherent_scale_of_long_rows",
    )
]
NAMES = list(dict.fromkeys(mode.name for mode in (*MODES, *SPECIAL)))
AGAIN = NAMES[::4]

# One process imports torch, and every script runs in a child of it that has imported nothing else.
RUNNER = """
import json, os, sys, torch
for script in json.load(sys.stdin):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        exec(script, {"__name__": "__main__"})
        loaded = [name for name in sys.modules if name.startswith("normcheck.")]
        assert all(name.startswith("normcheck.properties") for name in loaded), loaded
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, script
"""

REPLAYER = """
import json, sys
from normcheck.api import make_plan
from normcheck.cases.case import Case
from normcheck.replay import replay
for target, op, dtype, name, policies, case in json.load(sys.stdin):
    plan = make_plan(target, op=op, dtypes=[dtype], profile="quick", properties=[name],
                     policies=policies)
    print(json.dumps(replay(plan, Case.parse(case)).text))
"""


@dataclass(frozen=True)
class Told:
    """A failure, and the script of it."""

    mode: FailureMode
    failure: Failure
    script: str


@cache
def told(name: str) -> Told:
    """Judge a mutant."""
    mode = catalogue.find(name)
    record = normcheck.run(
        mode.target, op=mode.op, dtypes=[mode.dtype], profile="quick", policies=mode.policies,
        properties=[mode.caught_by], fail_fast=True, verdict_only=True,
    )  # fmt: skip
    failure = record.checks[0].failures[0]
    return Told(mode, failure, failure.reproducer or _script(mode, failure.case))


def _script(mode: FailureMode, case: str) -> str:
    """Judge one case again, and write the script of what is found."""
    plan = make_plan(
        mode.target, op=mode.op, dtypes=[mode.dtype], profile="quick", policies=mode.policies,
        properties=[mode.caught_by],
    )  # fmt: skip
    executor = InProcess(plan.adapter, plan.device, plan.policy, Watchdog(60.0))
    trial = Trial(materialise(Case.parse(case)), executor, plan.policy, RoundingChoice())
    finding = plan.checked()[0].judge(trial).finding
    assert finding is not None
    return reproducer(plan.adapter, trial, finding, mode.caught_by)


def _fed(program: str, data: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(data), capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What the scripts print, each in a process of its own."""
    scripts = [told(name).script for name in NAMES]
    assert all(scripts), [name for name in NAMES if not told(name).script]
    return dict(zip(NAMES, _fed(RUNNER, scripts), strict=True))


@pytest.fixture(scope="module")
def replayed() -> dict[str, str]:
    """What a fresh process says of the printed cases."""
    found = [told(name) for name in AGAIN]
    asked = [
        (t.mode.target, t.mode.op, t.mode.dtype, t.mode.caught_by, t.mode.policies, t.failure.case)
        for t in found
    ]
    return dict(zip(AGAIN, map(json.loads, _fed(REPLAYER, asked)), strict=True))


def _equal(first: float, second: float | None) -> bool:
    """Whether two numbers are one; a record has None for what JSON cannot carry."""
    if second is None:
        return not math.isfinite(first)
    return first == second or (math.isnan(first) and math.isnan(second))


@pytest.mark.parametrize("name", NAMES)
def test_script_shows_the_stated_value_in_a_fresh_process(
    name: str, printed: dict[str, str]
) -> None:
    computed, _, expected = told(name).script.rpartition("# ")[2].partition(", but should be ")
    failure = told(name).failure
    assert _equal(float(printed[name]), float(computed))
    assert _equal(float(computed), failure.computed)
    assert _equal(float(expected), failure.expected)


@pytest.mark.parametrize("name", AGAIN)
def test_a_case_fails_alike_in_a_fresh_process(name: str, replayed: dict[str, str]) -> None:
    failure = told(name).failure
    assert f"inputs have the digest {failure.digest}" in replayed[name]
    (line,) = [line for line in replayed[name].splitlines() if line.startswith("  \N{BALLOT X}")]
    assert line.endswith(f"violated  {ratio_text(failure.ratio)}")


def test_the_printed_command_fails_alike() -> None:
    found = told("rms_norm_offset_dropped")
    (line,) = [x for x in found.failure.message.splitlines() if x.startswith("  reproduce")]
    command = line.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--property", found.mode.caught_by],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert ratio_text(found.failure.ratio) in done.stdout


def test_every_op_and_every_kind_of_tensor_is_among_them() -> None:
    assert {told(name).mode.op for name in NAMES} == set(ops.names()) - {OP_ON_RANKS}
    tensors = {told(name).failure.tensor.removesuffix("_with_gradients") for name in NAMES}
    kinds = {"y", "residual_out", "running_mean", "running_var"}
    kinds |= {f"grad_{name}" for name in ("x", "residual", "z", "weight", "bias")}
    assert kinds <= tensors


@pytest.mark.parametrize("name", NAMES)
def test_a_message_is_short(name: str) -> None:
    assert len(told(name).failure.message.splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("layer_norm_coherent_scale", "  wrong     the slice of y["),
        ("layer_norm_coherent_scale", "rule I1 of docs/budgets.md"),
        ("layer_norm_weight_stride_ignored", "  call      with weight every second element"),
        ("layer_norm_weight_stride_ignored", "rule F of docs/budgets.md"),
        ("rms_norm_gated_sigmoid_gate", "rule G of docs/budgets.md"),
    ],
)
def test_a_message_says_what_is_special_and_by_which_rule(name: str, line: str) -> None:
    assert line in told(name).failure.message


def test_a_value_that_changes_from_call_to_call_is_said_to() -> None:
    torch.manual_seed(0)  # which the fault draws from
    script = told("layer_norm_lost_partial_sum").script
    assert script.endswith("; it changes from call to call")
    assert "changes" not in told("layer_norm_truncated_row").script


def test_no_script_is_written_of_what_takes_more_than_calls() -> None:
    assert told("layer_norm_first_example_under_vmap").script == ""
    assert told("layer_norm_overwrites_input").script == ""
