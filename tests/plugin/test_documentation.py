"""What the documents say of the plugin is what it does, and the examples pass for a stranger."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.plugin.conftest import KERNELS

ROOT = Path(__file__).parents[2]
FENCES = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files(page: str, folder: Path) -> list[tuple[str, str]]:
    """Write the files of a page, and return its other blocks."""
    blocks = FENCES.findall((ROOT / page).read_text())
    for _, name, code in blocks:
        if name:
            (folder / name).write_text(code)
    return [(language, code) for language, name, code in blocks if not name]


def test_the_page_tells_the_truth(pytester: pytest.Pytester, imported: None) -> None:
    pytester.makepyfile(mykernels=KERNELS)
    pytester.syspathinsert()
    blocks = files("docs/pytest.md", pytester.path)
    settings, known = (code for language, code in blocks if language == "toml")
    pytester.makepyprojecttoml(settings)
    (pytester.path / "known.toml").write_text(known)
    (console,) = (code for language, code in blocks if language == "console")
    command, *expected = console.splitlines()
    result = pytester.runpytest_inprocess(*command.removeprefix("$ pytest ").split())
    for line in expected:
        assert line in result.outlines
    # The hook of the page names the target once more, beside the tests of its files.
    result = pytester.runpytest_inprocess("-v")
    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(
        ["test_norms.py::test_rms_norm?rms_norm-bfloat16-cpu-gradients? PASSED*"]
    )
    result.stdout.fnmatch_lines(
        ["normcheck::rms_norm=mykernels:rms_norm::bfloat16-cpu-gradients PASSED*"]
    )
    words = (
        "--normcheck",
        "rms_norm=mykernels:rms_norm_in_half",
        "--normcheck-known",
        "known.toml",
    )
    result = pytester.runpytest_inprocess(*words, "-k", "in_half and gradients and bfloat16")
    result.assert_outcomes(failed=1, deselected=7)
    result.stdout.fnmatch_lines(["known failure got worse: >1000×, and 81× when it was written"])


def test_every_option_is_on_the_page(pytester: pytest.Pytester) -> None:
    text = (ROOT / "docs" / "pytest.md").read_text()
    shown = pytester.runpytest_inprocess("--help").stdout.str()
    options = set(re.findall(r"^\s+(--normcheck-[a-z-]+)", shown, re.MULTILINE))
    assert len(options) > 8
    assert [option for option in options if f"`{option}`" not in text] == []


def test_the_readmes_test_file_finds_what_its_run_finds(
    pytester: pytest.Pytester, imported: None
) -> None:
    files("README.md", pytester.path)
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("test_norms.py")
    told = re.search(
        r"float32 +(\d+) pass +(\d+) fail +(\d+) not judged", (ROOT / "README.md").read_text()
    )
    assert told is not None
    passed, failed, skipped = map(int, told.groups())
    # One more than the command line lists: it leaves out what is no custom op.
    result.assert_outcomes(passed=passed, failed=failed, skipped=skipped + 1)


@pytest.mark.slow
def test_the_examples_pass_as_a_stranger_runs_them(pytester: pytest.Pytester) -> None:
    shutil.copytree(ROOT / "examples", pytester.path, dirs_exist_ok=True)
    words = ("-q", "-p", "no:cacheprovider", "-k", "forward_accuracy or gradients")
    result = pytester.runpytest_subprocess(*words)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["fastnorms.modules:LayerNorm   4 checks   4 pass*"])
    result = pytester.runpytest_subprocess(
        "-q", "--normcheck", "fastnorms.functional:rms_norm", "-k", "output_contract"
    )
    result.stdout.fnmatch_lines(["fastnorms.functional:rms_norm   2 checks   2 pass*"])
