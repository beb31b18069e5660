"""normcheck.cli.processes: a run that several processes share is the run of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normcheck.config import DTYPES, parts, profile
from tests.fresh_process import Done

from .conftest import PLAIN, SAMPLES

PROPERTIES = [word for prop in PLAIN for word in ("--property", prop)]


# What it does depends on where memory lies; freshness, which is left out here, makes it show.
BY_ADDRESS = "layer_norm_weight_cached_by_identity"


def without_times(value: Any) -> Any:
    if isinstance(value, list):
        value = [v for v in value if v != BY_ADDRESS and BY_ADDRESS not in str(v)[:80]]
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not k.startswith(("elapsed", "started"))}
        return {k: without_times(v) for k, v in kept.items()}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("layer_norm", []),
        ("layer_norm_ignores_eps", ["--verdict-only"]),
        ("layer_norm_float32_only", ["--verdict-only"]),
        ("layer_norm_hangs_on_wide_bfloat16", ["--timeout", "1"]),
    ],
)
def test_two_processes_write_the_record_of_one(
    normcheck: Callable[..., Done], tmp_path: Path, name: str, options: list[str]
) -> None:
    records = []
    for jobs in ("1", "2"):
        normcheck(
            "run", f"{SAMPLES}:{name}", "--op", "layer_norm", "--dtype", "bfloat16,float32",
            "--profile", "quick", "-j", jobs, "--json", f"{jobs}.json", *PROPERTIES, *options,
        )  # fmt: skip
        records.append(without_times(json.loads((tmp_path / f"{jobs}.json").read_text())))
    one, two = records
    assert one["checks"]
    assert {check["dtype"] for check in one["checks"]} == {"bfloat16", "float32"}
    assert one == two


def test_a_case_that_ends_one_process_is_told_and_the_others_go_on(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm_dies_on_wide_bfloat16", "--op", "layer_norm", "--dtype",
        "bfloat16,float32", "--profile", "quick", "-j", "2", "--json", "r.json", "--verdict-only",
        *PROPERTIES,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the target ended the process (exit status 7) on nc1:layer_norm/bf16/" in done.stderr
    record = json.loads((tmp_path / "r.json").read_text())
    failing = {check["dtype"] for check in record["checks"] if check["verdict"] == "fail"}
    passing = {check["dtype"] for check in record["checks"] if check["verdict"] == "pass"}
    assert (failing, passing) == ({"bfloat16"}, {"bfloat16", "float32"})


@pytest.mark.parametrize(
    ("name", "options", "doing"),
    [
        ("layer_norm_dies_where_it_is_shrunk", ["--verdict-only"], "shrinking forward_accuracy"),
        ("layer_norm_dies_on_large_offsets", [], "envelope"),
    ],
)
def test_a_death_beside_the_cases_of_a_run_fails_its_check_and_hides_no_other(
    normcheck: Callable[..., Done], tmp_path: Path, name: str, options: list[str], doing: str
) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:{name}", "--op", "layer_norm", "--dtype", "float32", "--profile",
        "quick", "--json", "r.json", "--property", "forward_accuracy", "--property",
        "output_contract", *options,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"in {doing}; going on" in done.stderr
    accuracy, contract = json.loads((tmp_path / "r.json").read_text())["checks"]
    assert (accuracy["verdict"], contract["verdict"]) == ("fail", "pass")
    assert "the target ended the process (SIGSEGV)" in accuracy["failures"][-1]["message"]
    wrong = [f for f in accuracy["failures"] if f["ratio"] > 1]
    assert bool(wrong) is (doing != "envelope")


def test_a_property_that_hangs_is_told_and_the_others_go_on(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm_deaf_in_threads", "--op", "layer_norm", "--dtype", "float32",
        "--profile", "quick", "--json", "r.json", "--verdict-only", "--timeout", "0.5",
        "--property", "reentrancy", *PROPERTIES,
    )  # fmt: skip
    assert done.returncode == 1
    told = "did not return within 1 s, and could not be interrupted on nc1:layer_norm/f32/"
    assert done.stderr.count(told) == 2  # a third case is not tried
    record = json.loads((tmp_path / "r.json").read_text())
    verdicts = {check["property"]: check["verdict"] for check in record["checks"]}
    assert verdicts == {**dict.fromkeys(PLAIN, "pass"), "reentrancy": "fail"}
    assert record["incomplete"] == ""


def test_what_stops_every_process_is_told_once(normcheck: Callable[..., Done]) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm", "--op", "layer_norm", "--device", "cuda:99", "-j", "2"
    )
    assert done.returncode == 5
    assert done.stderr.count("cuda:99") == 1


def test_a_terminated_run_leaves_no_process_behind(tmp_path: Path) -> None:
    started = subprocess.Popen(
        [
            sys.executable, "-m", "normcheck", "run", f"{SAMPLES}:layer_norm", "--profile",
            "thorough", "-j", "2", "--json", "r.json",
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stderr is not None
    assert "layer_norm" in started.stderr.readline()
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    if not children.exists():
        started.kill()
        pytest.skip("this system does not tell the children of a process")
    pids = children.read_text().split()
    assert len(pids) == 2
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGTERM
    time.sleep(0.1)
    assert not [pid for pid in pids if alive(int(pid))]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


@pytest.mark.parametrize(
    ("dtypes", "jobs", "name", "shares"),
    [
        (DTYPES[:3], 1, "quick", [DTYPES[:3]]),
        (DTYPES[:3], 2, "quick", [("float32",), ("float16", "bfloat16")]),
        (DTYPES[:2], 8, "quick", [("float16",), ("bfloat16",)]),
        (DTYPES, 2, "quick", [("float32",), ("float16", "bfloat16", "float64")]),
        (DTYPES, 2, "standard", [("float32", "float64"), ("float16", "bfloat16")]),
    ],
)
def test_the_leading_dtype_counts_for_more(
    dtypes: tuple[str, ...], jobs: int, name: str, shares: list[tuple[str, ...]]
) -> None:
    assert parts(dtypes, jobs, profile(name)) == shares
