from __future__ import annotations

import base64
import gzip
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from normcheck.errors import UsageError
from normcheck.ratio import ratio_text
from normcheck.record import Record, Verdict
from normcheck.reports.html import render

HOSTILE = "&lt;</script></style><img src=x onerror=alert(1)>\"'<!--<script>"
TIMES = "\N{MULTIPLICATION SIGN}"
VOID = {"meta", "br", "img", "link", "input"}
KEPT = {"schema", "verdict", "id"}  # none of them is free text


class Page(HTMLParser):
    """Elements, text by id and embedded record of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, str] = {}
        self.titles = ""
        self.visible = ""
        self._open: list[tuple[str, str]] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for tag, element_id in self._open:
            self.text[element_id] = self.text.get(element_id, "") + data
            self.titles += data if tag == "title" else ""
        if not {"script", "style"} & {tag for tag, _ in self._open}:
            self.visible += data

    @property
    def record(self) -> Record:
        (carried,) = (a["href"] for tag, a in self.tags if a.get("id") == "record")
        return Record.model_validate_json(gzip.decompress(base64.b64decode(carried.split(",")[1])))


def with_hostile_text(record: Record) -> Record:
    def change(value: object) -> object:
        if isinstance(value, dict):
            return {key: change(v) if key not in KEPT else v for key, v in value.items()}
        if isinstance(value, list):
            return [change(v) for v in value]
        return f"{value}{HOSTILE}" if isinstance(value, str) else value

    return Record.model_validate(change(record.model_dump(by_alias=True, mode="json")))


@pytest.mark.parametrize("name", ["record", "passing", "not_judged"])
def test_the_header_counts_are_those_of_the_embedded_record(
    name: str, request: pytest.FixtureRequest
) -> None:
    given: Record = request.getfixturevalue(name)
    page = Page(render(given))

    embedded = page.record
    assert embedded == given
    for verdict in Verdict:
        count = sum(check.verdict is verdict for check in embedded.checks)
        assert page.text[f"count-{verdict}"] == str(count)
    assert page.text["count-checks"] == str(len(embedded.checks))
    assert page.text["count-cases"] == f"{embedded.cases_judged:,}"


def test_the_worst_ratio_in_the_header_is_the_largest_of_all_checks(record: Record) -> None:
    page = Page(render(record))
    worst = max(check.worst_ratio for check in page.record.checks)
    assert page.text["worst-ratio"] == ratio_text(worst)


@pytest.mark.parametrize(
    ("name", "words"), [("record", "FAIL"), ("passing", "PASS"), ("not_judged", "NOT JUDGED")]
)
def test_the_tab_says_the_verdict(name: str, words: str, request: pytest.FixtureRequest) -> None:
    page = Page(render(request.getfixturevalue(name)))
    assert page.titles == f"{words} · mykernels:rms_norm · normcheck"


def test_every_failing_check_is_in_the_text_and_its_cell_leads_to_its_block(record: Record) -> None:
    page = Page(render(record))
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    for check in record.checks:
        if check.verdict is Verdict.FAIL:
            assert check.id in page.visible
            assert f"failure-{check.id}" in ids
            assert f"#failure-{check.id}" in links


def test_every_link_leads_somewhere_in_the_page(record: Record) -> None:
    page = Page(render(record))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes for tag, attributes in page.tags if tag == "a"]
    targets = [a["href"] for a in links if "download" not in a]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= ids


def test_failures_show_message_reproducer_likely_cause_and_other_cases(record: Record) -> None:
    visible = Page(render(record)).visible
    for failure in (f for check in record.checks for f in check.failures[:1]):
        assert failure.message in visible
        assert failure.reproducer in visible
    assert "Likely: x*x overflows in bfloat16" in visible
    assert f"nc1:rms_norm/f16/2x2/plain1 2.50{TIMES}" in visible
    assert "11 more that the record does not list" in visible


def test_what_was_not_checked_is_shown(record: Record) -> None:
    section = Page(render(record)).visible.partition("What was not checked")[2]
    for shown in ("no backward", "TypeError: no float64", "nc1:rms_norm/f64", "no bias", "3 cases"):
        assert shown in section


def test_a_check_that_was_not_judged_is_never_green(not_judged: Record) -> None:
    page = Page(render(not_judged))
    cells = [attributes.get("class") for tag, attributes in page.tags if tag == "td"]
    assert "not_judged" in cells
    assert "pass" not in cells
    assert page.text["worst-ratio"] == "?"


def test_the_worst_measurements_are_listed_the_largest_first(record: Record) -> None:
    section = render(record).partition('id="worst"')[2].partition("</section>")[0]
    cases = re.findall(r"4x(\d+)/plain", section)
    assert [int(n) for n in cases] == list(range(41, 0, -1))


def test_two_devices_get_two_columns(record: Record) -> None:
    on_cuda = [c.model_copy(update={"device": "cuda", "id": f"{c.id}2"}) for c in record.checks]
    both = record.model_copy(update={"checks": [*record.checks, *on_cuda]})
    matrix = render(both).partition('<table class="matrix">')[2].partition("</thead>")[0]
    heads = re.findall(r'<th scope="col">(.*?)</th>', matrix)
    places = dict.fromkeys((check.dtype, check.device) for check in both.checks)
    assert heads == ["property", *(f"{dtype} · {device}" for dtype, device in places)]


def test_hostile_text_stays_text(record: Record) -> None:
    hostile = with_hostile_text(record.model_copy(update={"incomplete": "stopped"}))
    page, plain = Page(render(hostile)), Page(render(record))

    assert page.record == hostile
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.visible


def test_what_can_be_saved_holds_no_character_of_markup(record: Record) -> None:
    page = Page(render(with_hostile_text(record)))
    saved = {a["download"]: a["href"] for _, a in page.tags if "download" in a}
    assert list(saved) == ["record.json.gz", "junit.xml", "summary.md", "reproducers.py.txt"]
    assert all(re.fullmatch(r"data:[a-z/]+;base64,[\w+/=]+", href) for href in saved.values())


def test_the_page_requests_nothing_and_forbids_it(record: Record) -> None:
    source = render(record)
    page = Page(source)
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert not any("src" in attributes for _, attributes in page.tags)
    assert not re.search(r"url\((?!#)|@import|https?://", source)
    (policy,) = (a["content"] for _, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script")
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; " in policy


def test_the_same_record_gives_the_same_bytes(record: Record) -> None:
    assert render(record) == render(Record.model_validate_json(record.to_json()))


def test_every_table_can_be_scrolled_by_keyboard_and_names_its_headers(record: Record) -> None:
    page = Page(render(record))
    tables = sum(tag == "table" for tag, _ in page.tags)
    scrollers = [a for _, a in page.tags if a.get("class") == "scroller"]
    assert len(scrollers) == tables > 5
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in scrollers)
    assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th")


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("text", "page"),
        ("muted", "page"),
        ("link", "page"),
        ("text", "panel"),
        ("muted", "panel"),
        ("text", "fail-panel"),
        ("link", "fail-panel"),
        ("on-fail", "fail"),
        ("on-fail", "pass-badge"),
        ("on-pass", "pass"),
        ("on-not-judged", "not-judged"),
    ],
)
def test_text_has_the_contrast_of_wcag_aa(
    text: str, ground: str, theme: int, passing: Record
) -> None:
    colours = dict(re.findall(r"--([\w-]+): light-dark\((.+?)\);", render(passing)))

    def luminance(name: str) -> float:
        digits = colours[name].split(", ")[theme].removeprefix("#")
        channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(text), luminance(ground)))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_without_jinja2_the_error_says_what_to_install(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'normcheck[reports]'")):
        render(record)


def test_rendering_imports_nothing_that_computes(record: Record) -> None:
    script = """if True:
        import sys
        from normcheck.record import Record
        from normcheck.reports.html import render
        from normcheck.reports.text import markdown, summary
        assert "jinja2" not in sys.modules
        record = Record.model_validate_json(sys.stdin.read())
        render(record), summary(record), markdown(record)
        loaded = {"jinja2", "torch", "hypothesis", "triton"} & set(sys.modules)
        print(*loaded)
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=record.to_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["jinja2"]
