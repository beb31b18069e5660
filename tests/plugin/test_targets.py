"""pytest --normcheck: no test file, the same ids and verdicts, and nothing is forgotten."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from normcheck.plugin.planning import device

from .conftest import KERNELS

IDS = [
    f"normcheck::mykernels:rms_norm::{d}-cpu-{p}"
    for d in ("bfloat16", "float32")
    for p in ("forward_accuracy", "gradients")
]


def test_a_target_needs_no_test_file(project: pytest.Pytester) -> None:
    project.makepyfile(test_own="def test_own(): assert False")
    result = project.runpytest_inprocess(
        "--normcheck", "mykernels:rms_norm", "--collect-only", "-q"
    )
    assert [line for line in result.outlines if "::" in line] == IDS
    result = project.runpytest_inprocess("--normcheck", "rms_norm=mykernels:rms_norm")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "normcheck *: profile quick (seed 20261121) · 4 checks of 1 target · cpu*",
            "*= normcheck: PASS =*",
            "mykernels:rms_norm   4 checks   4 pass   0 fail   0 not judged",
        ]
    )


def test_with_a_path_both_are_run(project: pytest.Pytester) -> None:
    project.makepyfile(test_own="def test_own(): pass")
    result = project.runpytest_inprocess("--normcheck", "mykernels:rms_norm", "test_own.py")
    result.assert_outcomes(passed=5)


@pytest.mark.slow
def test_workers_give_the_same_ids_and_verdicts(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm
        test_right = normcheck.contract(rms_norm)
        """
    )
    words = ("--normcheck", "mykernels:rms_norm_in_half", "test_norms.py", "-q", "-rA")
    found = []
    for name, more in (("one.json", ()), ("two.json", ("-n", "2"))):
        result = project.runpytest_subprocess(*words, *more, "--normcheck-report", name)
        lines = [line.partition(" - ")[0] for line in result.outlines]
        found.append(sorted(ln for ln in lines if ln.startswith(("PASSED ", "FAILED "))))
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["mykernels:rms_norm_in_half   4 checks   2 pass   2 fail*"])
    assert found[0] == found[1]
    assert len(found[0]) == 8
    reports = sorted(path.name for path in project.path.glob("*-[12].json"))
    assert reports == ["one-1.json", "one-2.json", "two-1.json", "two-2.json"]
    assert not list(Path(project.path).glob("normcheck-*"))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["rms_norm=mykernels:missing"], 2, "*has no ?missing?*did you mean rms_norm*"),
        (["rms_norm=nowhere:rms_norm"], 2, "*nowhere*"),
        (["mykernels:other"], 2, "*cannot be told from its name: write --normcheck OP=*"),
        (["mykernels:rms_norm", "-k", "nope"], 4, "*nothing was judged*"),
        (["mykernels:rms_norm_refuses"], 4, "*nothing was judged*"),
        (["mykernels:rms_norm", "--normcheck-device", "cuda:77"], 2, "*cuda:77*"),
        (["mykernels:rms_norm", "--normcheck-dtype", "bf61"], 2, "*dtype is 'bf61'*"),
    ],
)
def test_a_target_without_a_check_fails_the_run(
    project: pytest.Pytester, words: list[str], status: int, message: str
) -> None:
    result = project.runpytest_inprocess("--normcheck", *words)
    assert result.ret == status
    result.stdout.fnmatch_lines([message])
    result.stdout.fnmatch_lines(["normcheck: asked to check *, but nothing was judged"])


def test_a_conftest_may_name_targets(project: pytest.Pytester) -> None:
    project.makepyfile(
        plugin="def pytest_normcheck_implementations(config): return ['mykernels:rms_norm']"
    )
    project.makepyfile(test_own="def test_own(): pass")
    project.runpytest_inprocess("-p", "plugin").assert_outcomes(passed=5)


def test_settings_come_from_the_nearest_place(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--normcheck", "mykernels:rms_norm", "--collect-only")
    monkeypatch.setenv("NORMCHECK_DTYPE", "float64")
    result = project.runpytest_inprocess(*words)
    result.stdout.fnmatch_lines(
        ["*2 checks*profile from ?tool.normcheck?*dtype from NORMCHECK_DTYPE"]
    )
    result = project.runpytest_inprocess(*words, "--normcheck-dtype", "float16,float32")
    result.stdout.fnmatch_lines(["*4 checks*dtype from --normcheck-dtype"])
    project.makepyprojecttoml('[tool.normcheck]\nprofil = "quick"\n')
    result = project.runpytest_inprocess(*words)
    assert result.ret != 0
    assert "has 'profil', which means nothing; did you mean profile?" in str(result.stdout) + str(
        result.stderr
    )


def test_one_case_is_judged_alone(project: pytest.Pytester) -> None:
    words = ("--normcheck", "mykernels:rms_norm_in_half", "--normcheck-case")
    result = project.runpytest_inprocess(*words, "nc1:rms_norm/bf16/1x1/plain/weight=none")
    # Right forward, wrong backward; what is in float32 is another case's business.
    result.assert_outcomes(passed=1, failed=1, skipped=2)
    result.stdout.fnmatch_lines(["*gradients  violated*"])


def test_a_case_that_means_nothing_ends_the_run_before_its_tests(
    project: pytest.Pytester,
) -> None:
    words = ("--normcheck", "mykernels:rms_norm", "--normcheck-case")
    result = project.runpytest_inprocess(*words, "nc1:rms_norm/fp32/1x1/plain")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "ERROR: dtype of case is 'fp32', but must be a short name; did you mean f32?"
    result.stderr.fnmatch_lines([said])


def test_junit_gets_texts(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("--normcheck", "mykernels:rms_norm", "--junitxml=j.xml")
    written = (project.path / "j.xml").read_text()
    assert '<property name="normcheck.id" value="rms_norm-bfloat16-cpu-gradients" />' in written
    assert '<property name="normcheck.seed" value="20261121" />' in written
    assert written.count('name="normcheck.case"') == 4


def test_reports_are_those_of_the_command_line(project: pytest.Pytester) -> None:
    words = [w for name in ("r.html", "r.json", "r.md") for w in ("--normcheck-report", name)]
    result = project.runpytest_inprocess("--normcheck", "mykernels:rms_norm", *words)
    result.stdout.fnmatch_lines(["report: r.html (mykernels:rms_norm)"])
    record = json.loads((project.path / "r.json").read_text())
    assert (record["verdict"], len(record["checks"])) == ("pass", 4)
    assert "rms_norm-float32-cpu-gradients" in (project.path / "r.md").read_text()
    assert "<!doctype html>" in (project.path / "r.html").read_text().lower()


def test_fixtures_give_cases_and_exact_answers(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        def test_own(normcheck_case, normcheck_reference, normcheck_record):
            case = "nc1:rms_norm/f32/4x8/plain/eps=0.5"
            given = normcheck_case(case)
            x = given["x"].double()
            y = x * (x.square().mean(-1, keepdim=True) + 0.5).rsqrt() * given["weight"].double()
            assert (y - normcheck_reference(case)).abs().max() < 1e-14
            normcheck_record("answer", 42)
        """
    )
    project.runpytest_inprocess("--junitxml=j.xml").assert_outcomes(passed=1)
    assert 'name="normcheck.user.answer" value="42"' in (project.path / "j.xml").read_text()


@pytest.mark.parametrize("more", [(), ("-n", "2")])
def test_an_id_is_run_as_it_is_printed(project: pytest.Pytester, more: tuple[str, ...]) -> None:
    result = project.runpytest_subprocess(*IDS[:1], *IDS[3:], *more)
    result.assert_outcomes(passed=2)
    (project.path / "other.py").write_text("from mykernels import rms_norm as fast")
    name = "normcheck::rms_norm=other:fast::float32-cpu-gradients"
    result = project.runpytest_inprocess(
        "--normcheck", "rms_norm=other:fast", "--collect-only", "-q"
    )
    assert name in result.outlines
    project.runpytest_inprocess(name).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_run_of_the_command_line_has_the_same_ids_and_verdicts(
    pytester: pytest.Pytester, imported: None
) -> None:
    pytester.makepyfile(mykernels=KERNELS)
    pytester.syspathinsert()
    words = ("--normcheck-profile", "quick", "--normcheck-dtype", "bfloat16")
    result = pytester.runpytest_inprocess("--normcheck", "mykernels:rms_norm_in_half", *words, "-v")
    said = {}
    for line in result.outlines:
        name, _, rest = line.removeprefix("normcheck::mykernels:rms_norm_in_half::").partition(" ")
        if line.startswith("normcheck::"):
            said[f"rms_norm-{name}"] = rest.split()[0]
    done = pytester.run(
        sys.executable, "-m", "normcheck", "run", "mykernels:rms_norm_in_half", "--op", "rms_norm",
        "--dtype", "bfloat16", "--profile", "quick", "-q", "--json", "r.json",
    )  # fmt: skip
    assert done.ret == 1
    record = json.loads((pytester.path / "r.json").read_text())
    words_of = {"pass": "PASSED", "fail": "FAILED", "not_judged": "SKIPPED"}
    told = {check["id"]: words_of[check["verdict"]] for check in record["checks"]}
    # The command line leaves out what is no custom op; a test was collected before that is known.
    assert said.pop("rms_norm-bfloat16-cpu-custom_op") == "SKIPPED"
    assert said == told
    assert {"PASSED", "FAILED", "SKIPPED"} == set(told.values())


@pytest.mark.parametrize(
    ("worker", "text", "expected"),
    [
        ("gw0", "cuda", "cuda:0"), ("gw3", "cuda", "cuda:1"), ("gw3", "auto", "cuda:1"),
        ("gw3", "cuda:0", "cuda:0"), ("gw3", "cpu", "cpu"), ("", "cuda", "cuda"),
    ],
)  # fmt: skip
def test_workers_take_the_visible_gpus_by_turns(
    monkeypatch: pytest.MonkeyPatch, worker: str, text: str, expected: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device(text, worker) == expected


def test_a_target_may_be_asked_for_as_two_ops(project: pytest.Pytester) -> None:
    project.makepyfile(mine="def fast(x, weight, eps): raise NotImplementedError")
    words = ("--normcheck", "rms_norm=mine:fast", "--normcheck", "l2_norm=mykernels:rms_norm")
    result = project.runpytest_inprocess(*words, "--normcheck", "rms_norm=mykernels:rms_norm")
    result.stdout.fnmatch_lines(["normcheck: asked to check rms_norm=mine:fast, but nothing*"])
    assert "normcheck::l2_norm=mykernels:rms_norm" in str(result.stdout)


def test_another_contract_on_the_target_is_no_substitute(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm, rms_norm_refuses
        test_c = normcheck.contract(rms_norm, dtypes=["float32"])
        """
    )
    words = ("--normcheck", "mykernels:rms_norm", "test_norms.py", "-k", "test_c")
    result = project.runpytest_inprocess(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["normcheck: asked to check mykernels:rms_norm, but nothing*"])


def test_an_id_after_an_option_is_its_value(project: pytest.Pytester) -> None:
    left_out = "normcheck::mykernels:rms_norm::bfloat16-cpu-gradients"
    words = ("--normcheck", "mykernels:rms_norm", "--collect-only", "-q", "--deselect")
    result = project.runpytest_inprocess(*words, left_out)
    result.stdout.fnmatch_lines(["3/4 tests collected (1 deselected)*"])
    result = project.runpytest_inprocess(*words, left_out, left_out)
    result.stdout.fnmatch_lines(["no tests collected (1 deselected)*"])


def test_an_id_that_names_nothing_is_an_error(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(IDS[0], f"{IDS[0]}z")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"not found: {IDS[0]}z"])


@pytest.mark.parametrize("place", ["nowhere/r.html", "r.pdf"])
def test_a_report_that_cannot_be_written_is_told_before_the_run(
    project: pytest.Pytester, place: str
) -> None:
    words = ("--normcheck", "mykernels:rms_norm", "--normcheck-report", place)
    result = project.runpytest_subprocess(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--normcheck-report is {place}, but must be .html, .json*"])
