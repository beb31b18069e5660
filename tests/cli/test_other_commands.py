"""repro, report, compare, explain, doctor, help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fresh_process import Done

from .conftest import SAMPLES

Judge = Callable[..., tuple[Done, dict[str, Any]]]
EPS_CASE = "nc1:layer_norm/f32/1x2/plain/eps=1.0"


def test_repro_fails_while_the_case_fails(normcheck: Callable[..., Done]) -> None:
    assert normcheck("repro", f"{SAMPLES}:layer_norm_ignores_eps", EPS_CASE).returncode == 1
    assert normcheck("repro", f"{SAMPLES}:layer_norm", EPS_CASE).returncode == 0


def test_repro_prints_expected_got_and_the_digest(normcheck: Callable[..., Done]) -> None:
    done = normcheck("repro", f"{SAMPLES}:layer_norm_ignores_eps", EPS_CASE)
    for word in ("expected", "got", "budget", "digest", "forward_accuracy"):
        assert word in done.stdout


def test_repro_of_a_refusal_is_not_green(normcheck: Callable[..., Done]) -> None:
    assert normcheck("repro", f"{SAMPLES}:layer_norm_refuses", EPS_CASE).returncode == 4


def test_repro_script_runs_without_normcheck(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    done = normcheck("repro", f"{SAMPLES}:layer_norm_ignores_eps", EPS_CASE, "--script")
    assert "normcheck" not in done.stdout.replace(str(SAMPLES.parent), "")
    script = tmp_path / "repro.py"
    script.write_text(done.stdout)
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    stated = done.stdout.rpartition("# ")[2].partition(",")[0]
    assert shown.stdout.strip() == stated


@pytest.mark.parametrize(
    ("case", "near"),
    [
        ("nc2:layer_norm/f32/1x2/plain", "must begin with nc1:"),
        ("nc1:layernorm/f32/1x2/plain", "did you mean layer_norm?"),
        ("nc1:layer_norm/fp32/1x2/plain", "did you mean f32?"),
        ("nc1:layer_norm/f32/1by2/plain", "sizes joined by x"),
        ("nc1:layer_norm/f32/1x2/plane", "did you mean plain?"),
        ("nc1:layer_norm/f32/1x2/plain/sed=3", "did you mean seed?"),
        ("nc1:layer_norm/f32/1x2", "OP/DTYPE/SHAPE/REGIME"),
    ],
)
def test_a_wrong_case_id_names_the_nearest_right_one(
    normcheck: Callable[..., Done], case: str, near: str
) -> None:
    done = normcheck("repro", f"{SAMPLES}:layer_norm", case)
    assert done.returncode == 2
    assert near in done.stderr


def test_a_case_that_the_target_cannot_express_is_told(normcheck: Callable[..., Done]) -> None:
    case = "nc1:layer_norm/f32/2x3x4/plain/dims=2"
    done = normcheck("repro", f"{SAMPLES}:layer_norm", case)
    assert done.returncode == 2
    assert "cannot express" in done.stderr


def test_report_renders_an_old_record_again(
    normcheck: Callable[..., Done], judge: Judge, tmp_path: Path
) -> None:
    done, _ = judge("layer_norm_ignores_eps", "--fail-fast")
    (tmp_path / "run.json").write_text(done.stdout)
    assert normcheck("report", "run.json", "-o", "run.html").returncode == 0
    assert "FAIL" in (tmp_path / "run.html").read_text()
    assert "FAIL" in normcheck("report", "run.json").stdout
    assert normcheck("report", "run.json", "-o", "run.pdf").returncode == 2


@pytest.mark.parametrize(("content", "message"), [("{}", "not a run record"), (None, "read")])
def test_report_of_something_else_is_told(
    normcheck: Callable[..., Done], tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    done = normcheck("report", "x.json")
    assert done.returncode == 2
    assert message in done.stderr


def test_compare_finds_a_new_failure(
    normcheck: Callable[..., Done], judge: Judge, tmp_path: Path
) -> None:
    for name in ("layer_norm", "layer_norm_ignores_eps"):
        (tmp_path / f"{name}.json").write_text(judge(name)[0].stdout)
    worse = normcheck("compare", "layer_norm.json", "layer_norm_ignores_eps.json")
    assert worse.returncode == 1
    assert "new failure" in worse.stdout
    better = normcheck("compare", "layer_norm_ignores_eps.json", "layer_norm.json")
    assert better.returncode == 0
    assert "fixed" in better.stdout


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("gradients", "Real bugs"),
        ("layer_norm", "Signature"),
        ("offset", "regime"),
        ("mix", "one per slice"),
        ("layer_norm_one_pass_variance", "Caught by"),
    ],
)
def test_explain_prints_a_page(normcheck: Callable[..., Done], name: str, word: str) -> None:
    done = normcheck("explain", name)
    assert done.returncode == 0
    assert word in done.stdout


def test_explain_of_nothing_lists_everything_and_of_a_typo_the_nearest(
    normcheck: Callable[..., Done],
) -> None:
    everything = normcheck("explain").stdout
    assert "forward_accuracy" in everything
    assert "l2_norm_eps_inside" in everything
    assert "did you mean gradients?" in normcheck("explain", "gradient").stderr


def test_doctor_names_what_is_installed(normcheck: Callable[..., Done]) -> None:
    done = normcheck("doctor")
    assert done.returncode == 0
    assert "torch" in done.stdout
    assert "cpu" in done.stdout


def test_an_unknown_command_names_the_nearest(normcheck: Callable[..., Done]) -> None:
    done = normcheck("rum")
    assert done.returncode == 2
    assert "did you mean run?" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "x.json"]])
def test_help_and_report_import_no_torch(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom normcheck.cli import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0
