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
