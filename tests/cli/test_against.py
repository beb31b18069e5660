"""`normcheck run --against` and `--compare`: others judged beside the target."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from normcheck.cli.judging import Request
from normcheck.cli.options import Implementation, implementation
from normcheck.cli.run import Beside, _others
from normcheck.comparison_of_runs import FailOn
from normcheck.errors import UsageError
from normcheck.record import Verdict, read
from tests.fresh_process import Done

from .conftest import SAMPLES
from .test_compare_records import TIMES, checked, no, recorded

QUICK = (
    "--op", "layer_norm", "--dtype", "float32", "--profile", "quick", "--verdict-only", "-j", "1",
    "--property", "forward_accuracy",
)  # fmt: skip
TORCH = "torch.nn.functional:layer_norm"


def test_others_are_judged_and_told_below_the_summary(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm_ignores_eps", *QUICK, "--json", "t.json", "--markdown",
        "t.md", "--against", TORCH,
    )  # fmt: skip
    assert done.returncode == 1
    record = read(tmp_path / "t.json")
    assert record.target.endswith("layer_norm_ignores_eps")
    summary, told = done.stdout.split("\ncompared on the same cases\n")
    assert f"repeat  {record.command}" in summary
    assert f"from {TORCH} to {record.target}: " in told
    assert "new failure    layer_norm-float32-cpu-forward_accuracy: pass 0." in told
    assert "1 new failure, 0 worse, 0 better, 0 same" in told
    markdown = (tmp_path / "t.md").read_text()
    assert "| `layer_norm-float32-cpu-forward_accuracy` | ✗ FAIL | 41 |" in markdown
    assert f"| `{TORCH}` | ✓ PASS | 1 | 0 |" in markdown


def test_what_cannot_be_judged_is_listed_and_the_run_goes_on(
    normcheck: Callable[..., Done],
) -> None:
    reasons = {
        "layer_norm_refuses": "NotImplementedError: no such kernel",
        "no_such_name": f"{SAMPLES} has no 'no_such_name'",
        "layer_norm_dies": f"{SAMPLES}:layer_norm_dies ended the process (exit status 0) on nc1:",
    }
    others = [word for name in reasons for word in ("--against", f"{SAMPLES}:{name}")]
    done = normcheck("run", f"{SAMPLES}:layer_norm", *QUICK, *others, "--against", TORCH)
    assert done.returncode == 0
    for name, reason in reasons.items():
        assert f"\nnot judged: {SAMPLES}:{name}: {reason}" in done.stdout
    assert f"from {TORCH} to {SAMPLES}:layer_norm: 38 of 41 and 41 cases shared" in done.stdout
    assert done.stdout.count("\nfrom ") == 1


def test_the_exit_status_is_the_targets_own(normcheck: Callable[..., Done]) -> None:
    words = ("run", f"{SAMPLES}:layer_norm", *QUICK, "--against")
    done = normcheck(*words, f"{SAMPLES}:layer_norm_ignores_eps", "--fail-on", "worse,new-failure")
    assert done.returncode == 0
    assert (
        f"fixed          layer_norm-float32-cpu-forward_accuracy: fail >1000{TIMES}" in done.stdout
    )


def test_the_record_on_stdout_is_the_targets_alone(normcheck: Callable[..., Done]) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", *QUICK, "--json", "-", "--against", TORCH)
    assert json.loads(done.stdout)["target"] == f"{SAMPLES}:layer_norm"
    assert f"from {TORCH} to {SAMPLES}:layer_norm: 38 of 41 and 41 cases shared" in done.stderr


def test_policies_are_those_that_follow_the_implementation(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    source = (
        "import torch\n"
        "def rms_norm(x, weight, eps):\n"
        "    r = x.double().pow(2).mean(-1, keepdim=True).sqrt() + eps\n"
        "    return ((x / r) if weight is None else (x / r * weight)).to(x.dtype)\n"
    )
    (tmp_path / "mine.py").write_text(source)
    words = [word if word != "layer_norm" else "rms_norm" for word in QUICK]
    own = "mine.py:rms_norm --policy eps=outside"
    done = normcheck(
        "run", "mine.py:rms_norm", *words, "--policy", "eps=outside", "--against",
        "torch.nn.functional:rms_norm", "--against", own, "--against", "mine.py:rms_norm",
    )  # fmt: skip
    assert done.returncode == 0
    rows = [line for line in done.stdout.splitlines() if "✓ PASS  " in line or "✗ FAIL  " in line]
    verdicts = [(line.split("  ")[0], "PASS" in line) for line in rows[-4:]]
    assert verdicts == [
        ("mine.py:rms_norm", True), ("torch.nn.functional:rms_norm", True), (own, True),
        ("mine.py:rms_norm", False),
    ]  # fmt: skip


def test_an_interrupt_ends_the_others_and_keeps_the_targets_record(tmp_path: Path) -> None:
    hangs = f"{SAMPLES}:layer_norm_hangs"
    started = subprocess.Popen(
        [
            sys.executable, "-m", "normcheck", "run", f"{SAMPLES}:layer_norm", *QUICK,
            "--json", "t.json", "--against", hangs, "--against", TORCH,
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout is not None
    while not started.stdout.readline().startswith("repeat"):
        assert started.poll() is None
    time.sleep(5.0)
    started.send_signal(signal.SIGINT)
    told, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert read(tmp_path / "t.json").verdict is Verdict.PASS
    assert f"not judged: {hangs}: interrupted" in told
    assert TORCH not in told
    assert "interrupted: others were not judged to their end" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--fail-on", "worse"),
            "--fail-on is worse, but there is nothing to compare with: "
            "add --against IMPL or --compare",
        ),
        (("--fail-on", "bad"), "must be new-failure, worse, any-failure or never"),
        (
            ("--against", f"{TORCH} --dtype float16"),
            f"--against is '{TORCH} --dtype float16', but only --policy, --set and --framework "
            "may follow its target: No such option '--dtype'",
        ),
        (("--against", f"{TORCH} --policy 'eps"), "may follow its target: No closing quotation"),
        (("--against", f"{TORCH} --policy eps=outsid"), "did you mean outside?"),
    ],
)
def test_a_wrong_word_about_others_is_told_before_the_run(
    normcheck: Callable[..., Done], words: tuple[str, ...], message: str
) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", *QUICK, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_an_implementation_is_read_with_what_follows_it() -> None:
    text = "my files/a--b.py:f --policy eps=outside --set dim=-1 --set s='a b' --framework numpy"
    assert implementation(text) == Implementation(
        text, "my files/a--b.py:f", ("eps=outside",), {"dim": -1, "s": "a b"}, "numpy"
    )
    assert implementation(TORCH) == Implementation(TORCH, TORCH)


REQUEST = Request(target="m:f", op="layer_norm", dtype="fp16", policies=("eps=outside",), seed=3)


def test_compare_adds_torchs_own_function_as_it_is_and_compiled() -> None:
    compiled = "normcheck.survey.adaptors.torch_compiled:layer_norm"
    found = _others(REQUEST, [Implementation("n:g", "n:g")], defaults=True)
    assert list(found) == ["n:g", TORCH, compiled]
    torchs = found[TORCH]
    assert (torchs.target, torchs.op, torchs.dtype, torchs.seed, torchs.policies) == (
        TORCH, "layer_norm", "float16", 3, (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("op", "names"),
    [("batch_norm", ["torch.nn.functional:batch_norm"]), ("add_rms_norm", [])],
)
def test_compare_adds_only_what_torch_has(op: str, names: list[str]) -> None:
    request = Request(target="m:f", op=op, dtype="float32")
    found = _others(request, [Implementation("n:g", "n:g")], defaults=True)
    assert list(found) == ["n:g", *names]


@pytest.mark.parametrize(
    ("op", "target"),
    [("add_rms_norm", "m:f"), ("batch_norm", "torch.nn.functional:batch_norm")],
)
def test_compare_without_anything_to_compare_with_is_told(op: str, target: str) -> None:
    request = Request(target=target, op=op, dtype="float32")
    with pytest.raises(
        UsageError, match=f"--compare is given, but torch has no other function for {op}: name what"
    ):
        _others(request, [], defaults=True)


def test_compare_judges_torchs_function(normcheck: Callable[..., Done]) -> None:
    words = [word if word != "layer_norm" else "instance_norm" for word in QUICK]
    done = normcheck("run", "torch.nn:InstanceNorm1d", *words, "--compare")
    assert done.returncode == 0
    assert "from torch.nn.functional:instance_norm to torch.nn:InstanceNorm1d: " in done.stdout


@pytest.mark.parametrize(
    ("ratio", "asked", "status"),
    [
        (9.0, FailOn.NEVER, 1),
        (9.0, FailOn.NEW_FAILURE, 1),
        (0.9, FailOn.NEVER, 0),
        (0.9, FailOn.NEW_FAILURE, 0),
        (0.9, FailOn.WORSE, 1),
        (0.1, FailOn.WORSE, 0),
    ],
)
def test_a_pass_is_status_1_where_it_is_as_bad_as_was_asked(
    capsys: pytest.CaptureFixture[str], ratio: float, asked: FailOn, status: int
) -> None:
    record = recorded("m:f", checked("a", {"p": ratio}))
    beside = Beside(record, {"m:g": recorded("m:g", checked("a", {"p": 0.1}))})
    assert beside.status(int(ratio > 1), frozenset({asked})) == status
    told = capsys.readouterr().err
    became = status == 1 and ratio < 1
    assert told == ("normcheck: worse than m:g, as --fail-on asks\n" if became else "")


def test_a_gate_without_anything_to_compare_with_is_not_green(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = recorded("m:f", checked("a", {"p": 0.9}))
    beside = Beside(record, {"m:g": recorded("m:g", no("a"))})
    assert beside.status(0, frozenset({FailOn.NEW_FAILURE, FailOn.WORSE})) == 4
    assert "nothing to compare with: m:g was not judged" in capsys.readouterr().err
    assert beside.status(0, frozenset({FailOn.NEVER})) == 0


def test_the_html_report_shows_the_others(normcheck: Callable[..., Done], tmp_path: Path) -> None:
    done = normcheck(
        "run", f"{SAMPLES}:layer_norm", *QUICK, "--html", "t.html", "--against", TORCH,
        "--against", f"{SAMPLES}:no_such_name",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "report: t.html"
    page = (tmp_path / "t.html").read_text()
    assert TORCH in page
    assert "no_such_name" in page
