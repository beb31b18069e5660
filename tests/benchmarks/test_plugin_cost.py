"""What the plugin costs a project that does not use it: one empty test, with it and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("words", [(), ("-p", "normcheck.pytest_plugin")], ids=["without", "with"])
def test_one_empty_test(
    benchmark: BenchmarkFixture, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--disable-plugin-autoload", *words]

    def run() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    done = benchmark.pedantic(run, rounds=7, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert b"1 passed" in done.stdout
