"""Every mutant of the catalogue is caught by the property that it names, where it says so."""

import shlex
import subprocess
import sys

import pytest

import normcheck
from normcheck.ops import catalogue as ops
from normcheck.properties import registry
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


# What these catch is caught sooner by another property, which its entry names.
SECONDS = {
    "affine_split": "layer_norm_never_cleared_weight_gradient",
    "eps_sensitivity": "layer_norm_root_cached_by_shape",
    "eval_gradients": "batch_norm_bfloat16_bias_gradient",
    "gradient_identities": "layer_norm_one_pass_variance",
    "implied_statistics": "layer_norm_rounded_root",
    "optional_arguments": "layer_norm_bias_in_the_slot_of_weight",
    "padding_independence": "group_norm_dy_stride_ignored",
    "permutation_covariance": "layer_norm_eleventh_call",
    "rank_independence": "layer_norm_lost_partial_sum",
    "scale_covariance": "layer_norm_half_eps",
    "shift_invariance": "batch_norm_one_pass_variance",
    "slice_independence": "layer_norm_tail_not_written",
    "train_inference_agreement": "batch_norm_updates_in_eval",
}
# Their mutants are registered, or of two ops at once: tests of their own have them.
OWN_TESTS = {"custom_op", "structure_equivalence"}


@pytest.mark.parametrize("prop", SECONDS)
def test_a_property_that_is_never_first_catches_a_mutant_alone(prop: str) -> None:
    mode = catalogue.find(SECONDS[prop])
    record = normcheck.run(
        mode.target, op=mode.op, dtypes=[mode.dtype], profile="quick", policies=mode.policies,
        properties=[prop], fail_fast=True, verdict_only=True,
    )  # fmt: skip
    assert [check.property for check in record.checks if check.verdict is Verdict.FAIL] == [prop]


def test_every_op_and_every_property_has_a_mutant() -> None:
    assert {mode.op for mode in MODES} == set(ops.names())
    caught_by = {mode.caught_by for mode in MODES}
    assert caught_by | set(SECONDS) | OWN_TESTS == set(registry.names())
    assert not caught_by & (set(SECONDS) | OWN_TESTS)
