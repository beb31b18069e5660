"""Our kernels touch what is theirs, once, and move as many bytes as their plans say."""

import json
import os
from pathlib import Path

import pytest

from tests.fresh_process import run_python

pytest.importorskip("triton")

HERE = Path(__file__).parent
# What tells the tracer's faults apart; each is of at least one mutant.
FAULTS = ("outside", "leaves open", "does not write", "more than once", "into the memory of")


@pytest.mark.slow
@pytest.mark.parametrize(
    "op",
    ["rms_norm", "layer_norm", "l2_norm", "add_rms_norm", "add_layer_norm", "group_norm",
     "batch_norm"],
)  # fmt: skip
def test_every_access_is_traced_and_every_byte_planned(op: str, tmp_path: Path) -> None:
    done = run_python([str(HERE / "traced_ops.py"), op], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    traces = json.loads(done.stdout)[op]
    assert len(traces) >= 8
    assert [trace for trace in traces if trace[1]] == []
    assert [trace for trace in traces if trace[2] != trace[3]] == []


@pytest.mark.slow
def test_mutants_are_found(tmp_path: Path) -> None:
    """And of those that the suite finds a third: `make kernels` judges all."""
    done = run_python([str(HERE / "judge_mutants.py"), "some"], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) >= 17
    assert [name for name, said in found.items() if not said] == []
    assert [fault for fault in FAULTS if not any(fault in said for said in found.values())] == []


def test_faults_that_no_mutant_has_are_found_too(tmp_path: Path) -> None:
    done = run_python([str(HERE / "faulty_kernels.py")], tmp_path, os.environ)
    assert done.returncode == 0, done.stderr
    unwritten, raced = json.loads(done.stdout)
    assert unwritten == ["copies reads 8 elements that nobody wrote"]
    # Each program but the last one writes what the next one reads.
    shared = "reads 2 elements of values that another program writes"
    assert f"follows_the_program_before {shared}" in raced
