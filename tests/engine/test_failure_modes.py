"""Every mutant of the catalogue is caught by the property that it names, where it says so."""

import os
import shlex
from pathlib import Path

import pytest

import normcheck
from normcheck.ops import catalogue as ops
from normcheck.properties import registry
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.record import Verdict
from tests.fresh_process import run_python

MODES = catalogue.modes()


@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_mutant_is_caught_by_its_property(mode: FailureMode, tmp_path: Path) -> None:
    if mode.deadly:
        done = run_python(["-m", *shlex.split(mode.command)], tmp_path, os.environ)
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


# What these catch, another property catches sooner: tests/properties holds each to a mutant alone.
NEVER_FIRST = {
    "affine_split", "custom_op", "eps_sensitivity", "eval_gradients", "gradient_identities",
    "optional_arguments", "padding_independence", "permutation_covariance", "rank_independence",
    "scale_covariance", "shift_invariance", "slice_independence", "structure_equivalence",
    "train_inference_agreement",
}  # fmt: skip


def test_every_op_and_every_property_has_a_mutant() -> None:
    assert {mode.op for mode in MODES} == set(ops.names())
    assert set(registry.names()) - {mode.caught_by for mode in MODES} == NEVER_FIRST
