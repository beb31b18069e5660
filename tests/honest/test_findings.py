"""Every reproducer of docs/findings still prints a wrong value, and a page describes it."""

import math
import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.fresh_process import run_python

FINDINGS = Path(__file__).parents[2] / "docs" / "findings"
PAGE = FINDINGS.with_suffix(".md")
SCRIPTS = sorted(FINDINGS.glob("*.py"))
# The versions that the page was measured with.
RECORDED = {
    "torch": "2.13.0",
    "flax": "0.12.8",
    "jax": "0.10.2",
    "transformers": "5.23.0",
    "keras": "3.15.1",
    "timm": "1.0.31",
    "torchvision": "0.28.0",
    "tinygrad": "0.14.0",
    "onnxruntime": "1.31.1",
}

scripts = pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])


def imported(script: Path) -> set[str]:
    found = re.findall(
        r"^\s*(?:import|from) (\w+)", script.read_text(encoding="utf-8"), re.MULTILINE
    )
    return set(found) & set(RECORDED)


def skip_unless_recorded(package: str) -> None:
    try:
        installed = version(package).partition("+")[0]
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if installed != RECORDED[package]:
        pytest.skip(f"{package} is {installed}, but the finding is of {RECORDED[package]}")


def printed(output: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", output, re.MULTILINE)
    assert found is not None, f"{name} is missing in {output!r}"
    return float(found[1])


@scripts
def test_a_reproducer_still_prints_a_wrong_value(script: Path, tmp_path: Path) -> None:
    for package in imported(script):
        skip_unless_recorded(package)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = run_python([str(script)], tmp_path, environment)
    # The last line of a script asserts that the error exceeds its bound.
    assert done.returncode == 0, done.stderr
    computed, exact = printed(done.stdout, "computed"), printed(done.stdout, "exact")
    assert math.isnan(computed) or computed != exact


@scripts
def test_a_reproducer_is_short_and_described(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 25
    assert f"findings/{script.name}" in PAGE.read_text(encoding="utf-8")


def test_every_reproducer_that_the_page_names_exists() -> None:
    names = set(re.findall(r"findings/(\w+\.py)", PAGE.read_text(encoding="utf-8")))
    assert names == {path.name for path in SCRIPTS}


@pytest.mark.parametrize("package", RECORDED)
def test_the_page_names_the_versions(package: str) -> None:
    assert f"{package} {RECORDED[package]}" in PAGE.read_text(encoding="utf-8")
