"""The report in Chromium, as its readers open it: on a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from normcheck.bench.document import read as read_bench
from normcheck.comparison_of_runs import compare_all
from normcheck.record import Record, read
from normcheck.reports.html import render

from .large import with_cases
from .test_html import with_hostile_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
RECORD = Path(__file__).with_name("records") / "run-2.json"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt install chromium")
api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def real() -> Record:
    return read(RECORD)


@contextmanager
def opened(browser: Any, folder: Path, shown: Record | str, **context: Any) -> Iterator[Any]:
    """Open a report from a file; whatever it asks for or logs is an error."""
    place = folder / "report.html"
    place.write_text(shown if isinstance(shown, str) else render(shown), encoding="utf-8")
    own = browser.new_context(**context)
    page = own.new_page()
    asked: list[str] = []
    logged: list[str] = []
    page.on("request", lambda request: asked.append(request.url[:80]))
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("dialog", lambda dialog: logged.append(f"dialog: {dialog.message}"))
    page.goto(place.as_uri())
    yield page
    own.close()
    assert [url for url in asked if not url.startswith("data:")] == [place.as_uri()[:80]]
    assert logged == []


def pointed(page: Any, chart: Any) -> set[str]:
    """Move the pointer over a chart, and return the cases that it names."""
    box = chart.locator("svg").bounding_box()
    named = set()
    for step in range(240):
        column, row = step % 20, step // 20
        page.mouse.move(
            box["x"] + box["width"] * (column + 0.5) / 20,
            box["y"] + box["height"] * (row + 0.5) / 12,
        )
        told = chart.locator("output").inner_text()
        named |= {told.split()[-1]} if told else set()
    return named


@pytest.fixture(scope="module")
def whole(real: Record) -> str:
    """A report with everything that can be in one."""
    older, bench = RECORD.with_name("run-1.json"), RECORD.with_name("bench-1.json")
    return render(real, compare_all(real, [read(older)]), read_bench(bench))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 390])
def test_it_fits_and_everybody_can_read_it(
    browser: Any, tmp_path: Path, whole: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 900}
    with opened(browser, tmp_path, whole, viewport=size, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


def test_it_says_everything_without_scripts(browser: Any, tmp_path: Path, real: Record) -> None:
    with opened(browser, tmp_path, real, java_script_enabled=False) as page:
        text = page.inner_text("body")
        assert "FAIL" in text
        for check in real.checks:
            if check.failures:
                first = check.failures[0].message.splitlines()[0].strip()
                assert first in page.text_content("body")
        assert page.locator("svg").count() == 9
        assert page.locator("svg text").first.is_visible()
        assert not page.locator("#filters").is_visible()


def test_a_pointer_names_the_case_of_a_point(browser: Any, tmp_path: Path, real: Record) -> None:
    size = {"width": 1180, "height": 900}
    with opened(browser, tmp_path, real, viewport=size) as page:
        chart = page.locator("figure[data-field=length]")
        chart.scroll_into_view_if_needed()
        named = pointed(page, chart)
        cases = {m.case for check in real.checks for m in check.measurements}
        assert named
        assert named <= cases


def test_filters_keep_what_they_say(browser: Any, tmp_path: Path, real: Record) -> None:
    with opened(browser, tmp_path, real) as page:
        rows = page.locator(".matrix tbody tr:visible")
        assert rows.count() == len({check.property for check in real.checks})
        page.locator("#filters input[type=checkbox]").check()
        assert rows.count() == len({c.property for c in real.checks if c.failures})
        page.locator("#filters input[type=search]").fill("gradi")
        assert rows.locator("th").all_inner_texts() == ["gradients"]


def test_a_reproducer_is_copied_whole(browser: Any, tmp_path: Path, real: Record) -> None:
    with opened(browser, tmp_path, real) as page:
        page.locator("button.copy").first.click()
        selected = page.evaluate("getSelection().toString()")
        first = next(c.failures[0] for c in real.checks if c.failures)
        assert first.message.strip() in selected.strip()


def test_the_first_sheet_of_paper_has_the_verdict(
    browser: Any, tmp_path: Path, real: Record
) -> None:
    size = {"width": 794, "height": 1123}  # A4 at 96 dots per inch
    with opened(browser, tmp_path, real, viewport=size) as page:
        page.emulate_media(media="print")
        for selector in ("h1", ".look", "#matrix"):
            box = page.locator(selector).first.bounding_box()
            assert box["y"] + box["height"] < size["height"]
        assert not page.locator("nav").is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_hostile_text_stays_inert(browser: Any, tmp_path: Path, real: Record) -> None:
    with opened(browser, tmp_path, with_hostile_text(real)) as page:
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1


def test_twenty_thousand_cases_can_be_pointed_at(
    browser: Any, tmp_path: Path, real: Record
) -> None:
    with opened(browser, tmp_path, with_cases(real, 20_000)) as page:
        chart = page.locator("figure[data-field=length]")
        chart.scroll_into_view_if_needed()
        assert pointed(page, chart)
