"""A project that does not use normcheck pays milliseconds for the plugin, and nothing else."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("torch", "triton", "hypothesis", "numpy", "pydantic", "jinja2", "normcheck.plugin")
CONFTEST = f"""
import sys

def pytest_unconfigure():
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""


def seconds(folder: Path, *words: str) -> float:
    """Return how long pytest takes on one empty test, with no other plugin about."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--disable-plugin-autoload", *words],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - begun


def test_nothing_heavy_is_imported_without_a_test_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess(
        "-s", "--disable-plugin-autoload", "-p", "normcheck.pytest_plugin"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["loaded: []"])


def test_the_probe_for_heavy_imports_can_fail(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("import normcheck\ndef test_nothing(): assert normcheck.Record")
    result = pytester.runpytest_subprocess(
        "-s", "--disable-plugin-autoload", "-p", "normcheck.pytest_plugin"
    )
    result.stdout.fnmatch_lines(["loaded: *pydantic*"])


def test_the_plugin_adds_a_few_percent_at_most(pytester: pytest.Pytester) -> None:
    """15 ms of the 200 that pytest itself takes: a ratio, so that a slow machine may be slow."""
    pytester.makepyfile("def test_nothing(): pass")
    without, beside = [], []
    for _ in range(7):
        without.append(seconds(pytester.path))
        beside.append(seconds(pytester.path, "-p", "normcheck.pytest_plugin"))
    added = statistics.median(b - a for a, b in zip(without, beside, strict=True))
    assert added < 0.15 * statistics.median(without)
