"""`normcheck run`: exit statuses, streams, and what a wrong call says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normcheck.record import Record
from tests.fresh_process import Done

from .conftest import SAMPLES

Judge = Callable[..., tuple[Done, dict[str, Any]]]


def test_an_honest_target_passes(judge: Judge) -> None:
    done, record = judge("layer_norm")
    assert (done.returncode, record["verdict"]) == (0, "pass")
    assert record["cases_judged"] > 30
    assert {check["verdict"] for check in record["checks"]} == {"pass"}


def test_a_broken_target_fails_and_names_its_case(judge: Judge) -> None:
    done, record = judge("layer_norm_ignores_eps")
    assert (done.returncode, record["verdict"]) == (1, "fail")
    (check,) = [c for c in record["checks"] if c["property"] == "forward_accuracy"]
    failure = check["failures"][0]
    assert failure["case"].startswith("nc1:layer_norm/f32/")
    assert failure["likely"] in ("eps is ignored", "eps is fixed at 1e-12")
    assert len(failure["message"].splitlines()) <= 20


def test_fail_fast_stops_at_the_first_failure(judge: Judge) -> None:
    done, record = judge("layer_norm_ignores_eps", "--fail-fast")
    assert done.returncode == 1
    assert "--fail-fast" in record["incomplete"]
    assert sum(check["failing_cases"] for check in record["checks"]) <= len(record["checks"])


def test_refusals_are_listed_and_not_failed(judge: Judge) -> None:
    done, record = judge("layer_norm_float32_only", "--dtype", "float32,bfloat16")
    assert (done.returncode, record["verdict"]) == (0, "pass")
    (refusal,) = record["unsupported"]
    assert "bfloat16 is not supported" in refusal["message"]
    verdicts = {c["verdict"] for c in record["checks"] if c["dtype"] == "bfloat16"}
    assert verdicts == {"not_judged"}


def test_a_target_that_refuses_everything_is_not_judged(judge: Judge) -> None:
    done, record = judge("layer_norm_refuses")
    assert (done.returncode, record["verdict"]) == (4, "not_judged")
    assert "layer_norm_refuses was not judged" in done.stderr
    assert "no such kernel" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer_norm_unknown_parameter", "--set temperature=VALUE"),
        ("layer_norm_ambiguous", "gamma and scale could both be the weight"),
        ("NOT_CALLABLE", "is a int, but must be callable"),
        ("no_such_name", "has no 'no_such_name'"),
        ("layer_norm_returns_list", "returned a list (a Tensor)"),
        ("layer_norm_returns_nothing", "returned nothing"),
    ],
)
def test_what_cannot_be_judged_is_told_and_still_one_document(
    judge: Judge, name: str, message: str
) -> None:
    done, record = judge(name)
    assert (done.returncode, record["verdict"]) == (4, "not_judged")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:f", "module no_such_module does not exist"),
        ("no/such/file.py:f", "is not a file"),
        ("just_a_name", "must be MODULE:NAME or FILE.py:NAME"),
    ],
)
def test_a_target_that_cannot_be_found_is_told(
    normcheck: Callable[..., Done], target: str, message: str
) -> None:
    done = normcheck("run", target, "--op", "layer_norm")
    assert done.returncode == 4
    assert message in done.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def layer_norm(x:\n", "SyntaxError"),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
        ("import sys; sys.exit(3)\n", "SystemExit: 3"),
        ("import no_such_dependency\n", "needs no_such_dependency, which is not installed"),
    ],
    ids=["syntax", "raises", "exits", "misses"],
)
def test_a_file_that_cannot_be_imported_is_told(
    normcheck: Callable[..., Done], tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    done = normcheck("run", "mine.py:layer_norm")
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["layer_norm_exits", "layer_norm_hangs"])
def test_a_dead_call_is_a_failed_check(judge: Judge, name: str) -> None:
    done, record = judge(name, "--timeout", "0.5")
    assert (done.returncode, record["verdict"]) == (1, "fail")
    messages = [f["message"] for c in record["checks"] for f in c["failures"]]
    assert any("ended the process" in m or "did not return within 0.5 s" in m for m in messages)


def test_a_call_that_nothing_interrupts_ends_the_process_with_a_message(judge: Judge) -> None:
    done, record = judge("layer_norm_deaf", "--timeout", "0.5")
    assert (done.returncode, record["verdict"]) == (1, "fail")
    assert "could not be interrupted" in done.stderr
    assert "could not be interrupted" in record["incomplete"]


@pytest.mark.parametrize(
    ("options", "near"),
    [
        (["--op", "layernorm"], "layer_norm"),
        (["--op", "layer_norm", "--dtype", "bf61"], "bf16"),
        (["--op", "layer_norm", "--profile", "standart"], "standard"),
        (["--op", "layer_norm", "--policy", "eps=outsid"], "outside"),
        (["--op", "layer_norm", "--policy", "epss=outside"], "eps"),
        (["--op", "layer_norm", "--policy", "eps"], "NAME=VALUE"),
        (["--op", "layer_norm", "--property", "gradient"], "gradients"),
        (["--op", "layer_norm", "--framework", "jaks"], "jax"),
        (["--op", "layer_norm", "--device", "tpu"], "cpu, cuda"),
        (["--op", "layer_norm", "--set", "x"], "NAME=VALUE"),
    ],
)
def test_a_wrong_word_names_the_nearest_right_one(
    normcheck: Callable[..., Done], options: list[str], near: str
) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", *options)
    assert done.returncode == 2
    assert near in done.stderr


def test_an_absent_device_is_status_5(normcheck: Callable[..., Done]) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", "--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 5
    assert "no CUDA device" in done.stderr


def test_a_property_that_says_nothing_of_the_op_is_status_5(normcheck: Callable[..., Done]) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", "--property", "running_statistics")
    assert done.returncode == 5
    assert "nothing to judge" in done.stderr


def test_what_a_target_prints_stays_off_stdout(judge: Judge) -> None:
    done, record = judge("layer_norm_talkative")
    assert record["verdict"] == "pass"
    assert "this must not reach stdout" in done.stderr


def test_the_same_seed_gives_the_same_record(judge: Judge) -> None:
    def timeless(record: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in record.items() if not k.startswith(("elapsed", "started"))}

    first, second = (judge("layer_norm", "--seed", "7")[1] for _ in range(2))
    assert timeless(first) == timeless(second)


def test_files_are_written_and_agree(normcheck: Callable[..., Done], tmp_path: Path) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm", "--dtype", "float32", "--profile", "quick",
        "--json", "r.json", "--html", "r.html", "--markdown", "r.md",
    )  # fmt: skip
    assert done.returncode == 0
    record = Record.model_validate_json((tmp_path / "r.json").read_text())
    assert record.target in done.stdout
    assert record.checks[0].id in (tmp_path / "r.html").read_text()
    assert record.checks[0].id in (tmp_path / "r.md").read_text()


def test_a_place_that_cannot_be_written_is_told_before_the_run(
    normcheck: Callable[..., Done],
) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", "--html", "no/such/folder/r.html")
    assert done.returncode == 2
    assert "is not a folder" in done.stderr


def test_the_printed_command_repeats_the_run(judge: Judge) -> None:
    _, record = judge("layer_norm", "--policy", "summation=serial", "--seed", "3")
    for part in ("--policy summation=serial", "--seed 3", "--dtype float32", "--profile quick"):
        assert part in record["command"]
    assert json.loads(json.dumps(record["policies"])) == {"summation": "serial"}


def test_an_interrupted_run_leaves_what_it_judged(tmp_path: Path) -> None:
    started = subprocess.Popen(
        [
            sys.executable, "-m", "normcheck", "run", f"{SAMPLES}:layer_norm", "--profile",
            "thorough", "--json", "partial.json",
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stderr is not None
    # The first line tells the binding: from here on cases are being judged.
    assert "layer_norm" in started.stderr.readline()
    time.sleep(5.0)
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    record = Record.model_validate_json((tmp_path / "partial.json").read_text())
    assert (started.returncode, record.verdict, record.incomplete) == (
        130, "not_judged", "interrupted",
    )  # fmt: skip
    assert record.cases_judged > 0
