"""Every mutant of the catalogue is caught by the property that it names, where it says so."""

import shlex
import subprocess
import sys

import pytest

import normcheck
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.record import Verdict

MODES = catalogue.modes()


@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_mutant_is_caught_by_its_property(mode: FailureMode) -> None:
    if mode.deadly:
        words = [sys.executable, "-m", *shlex.split(mode.command)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        assert mode.caught_by in done.stdout
        return
    record = normcheck.run(
        mode.target, op=mode.op, dtypes=[mode.dtype], profile=mode.profile,
        policies=mode.policies, properties=[mode.caught_by], fail_fast=True, verdict_only=True,
    )  # fmt: skip
    assert record.verdict is Verdict.FAIL
    (caught,) = [check for check in record.checks if check.verdict is Verdict.FAIL]
    assert caught.property == mode.caught_by
    assert caught.failures[0].message


CAUSES = {
    "layer_norm_one_pass_variance": "one-pass variance",
    "layer_norm_unbiased_variance": "n - 1",
    "layer_norm_eps_outside": "eps outside the root",
    "layer_norm_weight_ignored": "weight is ignored",
    "layer_norm_bias_ignored": "bias is ignored",
    "layer_norm_low_precision_statistics": "statistics are kept in",
    "rms_norm_centred": "the mean is subtracted",
    "rms_norm_offset_weight": "1 + weight",
    "batch_norm_biased_running_variance": "running variance is biased",
    "batch_norm_swapped_momentum": "momentum weighs the old value",
    "l2_norm_eps_inside": "eps inside the root",
}


@pytest.mark.parametrize("name", CAUSES)
def test_likely_cause_is_the_planted_one(name: str) -> None:
    mode = catalogue.find(name)
    record = normcheck.run(
        mode.target, op=mode.op, profile="quick", properties=[mode.caught_by], dtypes=["bfloat16"]
    )
    (check,) = record.checks
    assert CAUSES[name] in check.failures[0].likely


@pytest.mark.parametrize(
    "name", ["layer_norm_truncated_row", "layer_norm_dropped_tail", "batch_norm_lost_update"]
)
def test_a_cause_that_no_hypothesis_covers_is_not_named(name: str) -> None:
    mode = catalogue.find(name)
    record = normcheck.run(
        mode.target, op=mode.op, profile="quick", properties=[mode.caught_by], dtypes=["float32"]
    )
    (check,) = record.checks
    assert check.failures[0].likely == ""
