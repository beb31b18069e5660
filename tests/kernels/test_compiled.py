"""What the planner launches, compiled for GPUs that are not here: no spills, whole vectors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("compiled_rows.py")
# Registers per thread of 16 warps, two such programs on a multiprocessor of 65,536 registers.
MOST_REGISTERS = 128


@pytest.fixture(scope="module", params=["sm_80", "sm_90", "sm_100", "gfx942"])
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder)}
    environment.pop("TRITON_INTERPRET", None)
    words = [sys.executable, str(SCRIPT), request.param]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout)


def test_every_launch_compiles_without_spills(compiled: tuple[str, list[dict[str, Any]]]) -> None:
    _, launches = compiled
    assert len(launches) >= 20
    assert [launch for launch in launches if launch["spilled"]] == []
    assert [launch for launch in launches if launch["registers"] > MOST_REGISTERS] == []


def test_aligned_rows_are_loaded_in_whole_vectors(
    compiled: tuple[str, list[dict[str, Any]]],
) -> None:
    """A row of 1000 too: it is a multiple of 8, though not of the 16 that Triton looks for."""
    _, launches = compiled
    assert [launch for launch in launches if launch["narrow"] or not launch["wide"]] == []


def test_strict_launches_round_every_operation(
    compiled: tuple[str, list[dict[str, Any]]],
) -> None:
    target, launches = compiled
    if target == "gfx942":
        pytest.skip("AMD's instructions are not read for their rounding yet")
    strict = [launch for launch in launches if launch["strict"]]
    assert len(strict) >= 6
    assert [launch for launch in strict if launch["inexact"]] == []
    # The probe can fail: fast ones contract products and sums.
    assert any(launch["inexact"] for launch in launches if not launch["strict"])
