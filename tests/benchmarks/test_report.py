"""How long a report of 20,000 measured cases takes to write, and to show in Chromium."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from normcheck.record import Record, read
from normcheck.reports.html import render

REPORTS = Path(__file__).resolve().parent.parent / "reports"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def _large() -> ModuleType:
    spec = importlib.util.spec_from_file_location("large", REPORTS / "large.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def large() -> Record:
    record: Record = _large().with_cases(read(REPORTS / "records" / "run-2.json"), 20_000)
    return record


@pytest.mark.benchmark(group="report of 20,000 cases")
def test_rendering(benchmark: BenchmarkFixture, large: Record) -> None:
    page = benchmark.pedantic(  # type: ignore[no-untyped-call]
        render, args=(large,), rounds=5, warmup_rounds=1
    )
    benchmark.extra_info["kilobytes"] = len(page.encode()) // 1000


@pytest.mark.benchmark(group="report of 20,000 cases")
def test_the_command(benchmark: BenchmarkFixture, large: Record, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(large.to_json())
    words = [sys.executable, "-m", "normcheck", "report", "run.json", "-o", "report.html"]
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        subprocess.run, args=(words,), kwargs={"cwd": tmp_path, "check": True}, rounds=5
    )


@pytest.mark.benchmark(group="report of 20,000 cases")
def test_first_paint(benchmark: BenchmarkFixture, large: Record, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium: apt install chromium")
    place = tmp_path / "report.html"
    place.write_text(render(large))
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        painted = []

        def show() -> None:
            page = browser.new_page()
            page.goto(place.as_uri())
            page.wait_for_timeout(300)
            painted.append(page.evaluate(PAINTED))
            page.close()

        benchmark.pedantic(show, rounds=5, warmup_rounds=1)  # type: ignore[no-untyped-call]
        browser.close()
    benchmark.extra_info["first_paint_ms"] = sorted(painted)[len(painted) // 2]
