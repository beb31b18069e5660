"""Known failures: excused while they are what was written down, and failures in plain words."""

from __future__ import annotations

import tomllib

import pytest

CASE = "nc1:rms_norm/bf16/1x1/plain/weight=none"
WORDS = (
    "--normcheck",
    "mykernels:rms_norm_in_half",
    "--normcheck-dtype",
    "bfloat16",
    "-k",
    "gradients",
)
ENTRY = {"check": "rms_norm-bfloat16-*-gradients", "case": CASE, "reason": "sums in bfloat16"}


def known(project: pytest.Pytester, **changes: object) -> pytest.RunResult:
    entry = {**ENTRY, **changes}
    lines = [f"{k} = {v if isinstance(v, float) else repr(v)}" for k, v in entry.items()]
    (project.path / "known.toml").write_text("[[known]]\n" + "\n".join(lines) + "\n")
    return project.runpytest_inprocess(*WORDS, "--normcheck-known", "known.toml", "-rx")


def test_an_entry_excuses_just_its_failure(project: pytest.Pytester) -> None:
    result = known(project, issue="https://example.org/12", until="2999-01-01")
    result.assert_outcomes(xfailed=1, deselected=1)
    result.stdout.fnmatch_lines(["*known: sums in bfloat16 https://example.org/12*"])
    result.stdout.fnmatch_lines(["*1 checks   0 pass   0 fail   1 known   0 not judged"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": "2026-01-01"}, "known failure, excused until 2026-01-01: sums in bfloat16"),
        ({"ratio": 2.0}, "known failure got worse: >1000×, and 2.00× when it was written"),
        (
            {"case": "nc1:rms_norm/bf16/4x8/zeros"},
            "stale known failure: rms_norm-bfloat16-cpu-gradients holds in *; remove the entry",
        ),
    ],
)
def test_what_no_longer_is_what_was_written_fails(
    project: pytest.Pytester, changes: dict[str, object], message: str
) -> None:
    result = known(project, **changes)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.fnmatch_lines(["rms_norm · bfloat16 · cpu · gradients  *over budget"])


def test_a_passing_check_with_an_entry_is_stale(project: pytest.Pytester) -> None:
    (project.path / "known.toml").write_text(
        f'[[known]]\ncheck = "rms_norm-bfloat16-cpu-gradients"\ncase = "{CASE}"\nreason = "old"\n'
    )
    result = project.runpytest_inprocess(
        "--normcheck", "mykernels:rms_norm", "--normcheck-known", "known.toml"
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([f"stale known failure: * holds in {CASE}; remove the entry"])


def test_an_entry_that_matches_nothing_fails_the_run(project: pytest.Pytester) -> None:
    (project.path / "known.toml").write_text(
        f'[[known]]\ncheck = "rms_norm-bfloat16-cpu-gradient"\ncase = "{CASE}"\nreason = "typo"\n'
        '[[known]]\ncheck = "layer_norm-bfloat16-cpu-gradients"\n'
        f'case = "{CASE}"\nreason = "another file"\n'
    )
    result = project.runpytest_inprocess(
        "--normcheck", "mykernels:rms_norm", "--normcheck-known", "known.toml"
    )
    assert result.ret not in (0, 5)
    result.stdout.fnmatch_lines(
        ["*matches no check; did you mean rms_norm-bfloat16-cpu-gradients?"]
    )
    assert "layer_norm" not in str(result.stdout)  # another file's business


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[known]]\ncheck = 'a'\ncase = 'b'\n",
            "has no reason, but must name check, case and reason",
        ),
        ("[[known]]\ncheck = 'a'\ncase = 'b'\nreason = 'c'\nunitl = 'd'\n", "did you mean until?"),
        ("[[known]]\ncheck = 'a'\ncase = 'b'\nreason = 'c'\nuntil = 'soon'\n", "but must be a day"),
        ("[[known", "cannot be read"),
    ],
)
def test_a_file_that_means_nothing_is_refused(
    project: pytest.Pytester, text: str, message: str
) -> None:
    (project.path / "known.toml").write_text(text)
    result = project.runpytest_inprocess(*WORDS, "--normcheck-known", "known.toml")
    assert result.ret != 0
    assert message in str(result.stdout) + str(result.stderr)


def test_the_file_can_be_written(project: pytest.Pytester) -> None:
    words = ("--normcheck", "mykernels:rms_norm_in_half", "--normcheck-known", "known.toml")
    project.runpytest_inprocess(*words, "--normcheck-update-known").assert_outcomes(
        passed=2, failed=2
    )
    entries = tomllib.loads((project.path / "known.toml").read_text())["known"]
    assert [entry["check"] for entry in entries] == [
        "rms_norm-bfloat16-cpu-forward_accuracy", "rms_norm-bfloat16-cpu-gradients",
    ]  # fmt: skip
    project.runpytest_inprocess(*words).assert_outcomes(passed=2, xfailed=2)


def test_an_entry_about_what_is_not_judged_says_nothing(project: pytest.Pytester) -> None:
    (project.path / "known.toml").write_text(
        f'[[known]]\ncheck = "rms_norm-bfloat16-cpu-gradients"\ncase = "{CASE}"\nreason = "old"\n'
    )
    project.makepyfile(
        mine="""
        import torch
        def rms_norm(x, weight, eps):
            with torch.no_grad():
                return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps).to(x.dtype)
        """
    )
    words = ("--normcheck", "mine:rms_norm", "--normcheck-dtype", "bfloat16", "-k", "gradients")
    result = project.runpytest_inprocess(*words, "--normcheck-known", "known.toml", "-rs")
    result.assert_outcomes(skipped=1, deselected=1)


TWO = """
import normcheck
from mykernels import rms_norm, rms_norm_in_half

GIVEN = {"op": "rms_norm", "dtypes": ["bfloat16"], "properties": ["gradients"]}
test_right = normcheck.contract(rms_norm, **GIVEN)
test_wrong = normcheck.contract(rms_norm_in_half, **GIVEN)
"""


@pytest.mark.parametrize("target", ["mykernels:rms_norm_in_half", "*::test_wrong"])
def test_an_entry_may_name_its_target(project: pytest.Pytester, target: str) -> None:
    project.makepyfile(test_two=TWO)
    (project.path / "known.toml").write_text(
        f'[[known]]\ncheck = "rms_norm-bfloat16-cpu-gradients"\ntarget = "{target}"\n'
        f'case = "{CASE}"\nreason = "one of two"\n'
    )
    result = project.runpytest_inprocess("--normcheck-known", "known.toml")
    result.assert_outcomes(passed=1, xfailed=1)


def test_the_file_tells_two_targets_apart(project: pytest.Pytester) -> None:
    project.makepyfile(test_two=TWO)
    words = ("--normcheck-known", "known.toml")
    project.runpytest_inprocess(*words, "--normcheck-update-known")
    (entry,) = tomllib.loads((project.path / "known.toml").read_text())["known"]
    assert entry["target"] == "mykernels:rms_norm_in_half"
    project.runpytest_inprocess(*words).assert_outcomes(passed=1, xfailed=1)


def test_an_update_keeps_what_it_has_not_judged_and_the_reasons_given(
    project: pytest.Pytester,
) -> None:
    other = "nc1:rms_norm/f32/1x1/plain"
    (project.path / "known.toml").write_text(
        f'[[known]]\ncheck = "rms_norm-*-cpu-gradients"\ncase = "{CASE}"\nreason = "in half"\n\n'
        f'[[known]]\ncheck = "rms_norm-*-cpu-gradients"\ncase = "{other}"\nreason = "in single"\n'
    )
    words = (*WORDS, "--normcheck-known", "known.toml", "--normcheck-update-known")
    project.runpytest_inprocess(*words)
    entries = tomllib.loads((project.path / "known.toml").read_text())["known"]
    assert {entry["reason"]: entry["case"].split("/")[1] for entry in entries} == {
        "in half": "bf16", "in single": "f32",
    }  # fmt: skip
    assert [entry["check"] for entry in entries] == ["rms_norm-*-cpu-gradients"] * 2


def test_a_case_of_a_fixture_is_judged_with_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_launched="""
        import normcheck, pytest
        from mykernels import rms_norm

        @pytest.fixture
        def factor():
            return 1.5

        @normcheck.contract(op="rms_norm", dtypes=["float32"], properties=["forward_accuracy"])
        def test_launched(x, weight, eps, factor):
            return rms_norm(x, weight, eps) * factor
        """
    )
    # A case that this run does not meet: it has to be judged again.
    case = "nc1:rms_norm/f32/5x77/plain/seed=1003"
    (project.path / "known.toml").write_text(
        '[[known]]\ncheck = "rms_norm-float32-cpu-forward_accuracy"\n'
        f'case = "{case}"\nreason = "the factor"\n'
    )
    project.runpytest_inprocess("--normcheck-known", "known.toml").assert_outcomes(xfailed=1)
    result = project.runpytest_inprocess("--normcheck-case", case)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*forward_accuracy  violated  *"])


@pytest.mark.parametrize(("words", "fails"), [((), True), (("test_two.py",), False)])
def test_an_entry_of_no_check_fails_a_run_of_the_whole_project(
    project: pytest.Pytester, words: tuple[str, ...], *, fails: bool
) -> None:
    project.makepyfile(test_two=TWO.replace("rms_norm_in_half, **", "rms_norm, **"))
    (project.path / "known.toml").write_text(
        '[[known]]\ncheck = "layer_norm-float32-cpu-gradients"\n'
        'case = "nc1:layer_norm/f32/1x1/plain"\nreason = "removed"\n'
    )
    result = project.runpytest_inprocess(*words, "--normcheck-known", "known.toml")
    result.assert_outcomes(passed=2)
    assert bool(result.ret) is fails
    assert ("matches no check" in str(result.stdout)) is fails


def test_an_entry_of_another_op_excuses_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        mine="""
        import torch

        def layer_norm(x, weight, bias, eps):
            return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps) * 1.01
        """
    )
    (project.path / "known.toml").write_text(
        '[[known]]\ncheck = "*-float32-cpu-forward_accuracy"\n'
        'case = "nc1:rms_norm/f32/4x8/plain"\nreason = "another op"\n'
    )
    words = ("--normcheck", "mine:layer_norm", "--normcheck-dtype", "float32", "-k", "forward")
    result = project.runpytest_inprocess(*words, "--normcheck-known", "known.toml")
    result.assert_outcomes(failed=1, deselected=1)


def test_the_last_failures_alone_are_not_the_whole_project(project: pytest.Pytester) -> None:
    project.makepyfile(test_two=TWO)
    project.makepyfile(
        test_other="""
        import normcheck
        from mykernels import rms_norm
        test_other = normcheck.contract(rms_norm, dtypes=["float32"], properties=["gradients"])
        """
    )
    (project.path / "known.toml").write_text(
        '[[known]]\ncheck = "rms_norm-float32-cpu-gradients"\ntarget = "*::test_other"\n'
        'case = "nc1:rms_norm/f32/1x1/plain"\nreason = "elsewhere"\n'
    )
    words = ("--normcheck-known", "known.toml")
    project.runpytest_inprocess(*words)
    result = project.runpytest_inprocess(*words, "--lf")
    result.assert_outcomes(failed=2)  # the wrong target, and the stale entry
    assert "matches no check" not in str(result.stdout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[known]\ncheck = 'a'\n", "has [known], but each entry must be a table [[known]]"),
        ("[[known]]\ncheck='a'\ncase='nc1:rms_norm/f99/1x1/plain'\nreason='c'\n", "case is 'nc1:"),
        ("[[known]]\ncheck='a'\ncase='nc1:rms_norm/f32/1x1/plain'\nreason='c'\nissue=12\n",
         "issue is 12 in "),
        ("[[known]]\ncheck='a'\ncase='nc1:rms_norm/f32/1x1/plain'\nreason='c'\n"
         "until=2027-03-01T10:00:00\n", "but must be a day"),
    ],
)  # fmt: skip
def test_an_entry_of_the_wrong_kind_is_refused_in_words(
    project: pytest.Pytester, text: str, message: str
) -> None:
    (project.path / "known.toml").write_text(text)
    result = project.runpytest_inprocess(*WORDS, "--normcheck-known", "known.toml")
    assert result.ret != 0
    assert message in str(result.stdout) + str(result.stderr)
    assert "Traceback" not in str(result.stdout) + str(result.stderr)
