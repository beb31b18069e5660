"""The page shows what the survey says, and nothing that it does not."""

import re
from pathlib import Path

import pytest

from normcheck.errors import UsageError
from normcheck.record import Verdict
from normcheck.reports.survey import anchor, groups, html, markdown
from normcheck.survey.document import Cell, Entry, Fault, Status, Survey, read

RECORDED = Path(__file__).with_name("recorded.json")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def survey() -> Survey:
    return read(RECORDED)


def test_every_implementation_is_on_both_pages(survey: Survey) -> None:
    pages = markdown(survey), html(survey)
    for entry in survey.entries:
        assert all(entry.name in page for page in pages)
    assert {entry.status for entry in survey.entries} >= {Status.JUDGED, Status.NOT_INSTALLED}


def test_a_row_tells_ratio_and_cause(survey: Survey) -> None:
    lines = markdown(survey).splitlines()
    row = next(line for line in lines if line.startswith("| torch `functional.layer_norm`"))
    assert "✗ >1000×" in row
    assert "](findings.md#layernorm-statistics-saved-for-backward)" in row


def test_an_unconfirmed_failure_is_said_to_be_so() -> None:
    fault = Fault(
        property="forward_accuracy", tensor="y", ratio=3.0, cases=9, failing_cases=2,
        case="nc1:x", likely="serial", message="1 | 2", reproduce="normcheck repro x nc1:x",
    )  # fmt: skip
    cell = Cell(dtype="float32", verdict=Verdict.FAIL, worst_ratio=3.0, checks=1, faults=[fault])
    entry = Entry(
        id="a.b", library="A", name="<b>", op="l2_norm", target="t", status=Status.JUDGED,
        command="c", cells=[cell],
    )  # fmt: skip
    survey = Survey(
        command="c", profile="quick", device="cpu", normcheck="0", python="3", platform="p",
        started_at="2026-01-01T00:00:00", elapsed_s=1.0, entries=[entry],
    )  # fmt: skip
    (group,) = groups(entry)
    assert group.cause == "not confirmed; likely: serial"
    assert "not confirmed" in markdown(survey)
    assert "&lt;b&gt;" in html(survey)
    assert "<b>" not in html(survey)


def test_the_html_page_needs_nothing_else(survey: Survey) -> None:
    page = html(survey)
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href)=["']?https?:|url\(|@import""", page)


def test_every_row_of_the_table_has_the_same_cells(survey: Survey) -> None:
    rows = [line for line in markdown(survey).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_what_is_not_judged_is_listed_with_its_reason(survey: Survey) -> None:
    told = markdown(survey).partition("## Not judged")[2]
    for entry in survey.entries:
        if entry.status is not Status.JUDGED:
            assert f"`{entry.name}`: {entry.status}" in told


def test_a_link_goes_to_a_heading() -> None:
    assert anchor("LayerNorm: statistics saved for backward") == (
        "layernorm-statistics-saved-for-backward"
    )


def test_the_committed_page_is_that_of_the_committed_data() -> None:
    committed = read(DOCS / "survey.json")
    assert (DOCS / "survey.md").read_text(encoding="utf-8") == markdown(committed)


def test_every_finding_of_the_committed_page_exists() -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "findings.md").read_text("utf-8"), re.MULTILINE)
    committed = read(DOCS / "survey.json")
    faults = [f for entry in committed.entries for cell in entry.cells for f in cell.faults]
    assert {fault.finding for fault in faults} - {""} <= set(headings)


def test_a_file_of_another_schema_is_refused(tmp_path: Path, survey: Survey) -> None:
    other = tmp_path / "survey.json"
    other.write_text(survey.to_json().replace("survey/1", "survey/2"), encoding="utf-8")
    with pytest.raises(UsageError, match="is of schema 'normcheck/survey/2', but must be"):
        read(other)
