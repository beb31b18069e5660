"""A project that does not use normcheck imports nothing heavy for the plugin.

The milliseconds are a benchmark, `tests/benchmarks/test_plugin_cost.py`.
"""

from __future__ import annotations

import pytest

HEAVY = ("torch", "triton", "hypothesis", "numpy", "pydantic", "jinja2", "normcheck.plugin")
CONFTEST = f"""
import sys

def pytest_unconfigure():
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""


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
