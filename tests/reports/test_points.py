"""normcheck.reports.points: what a page keeps of a run that measured more than it can carry."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from normcheck.record import Record, Verdict, read
from normcheck.reports.html import render, save
from normcheck.reports.points import MOST_FAILURES, MOST_KEPT, measured, series, thinned

from .large import with_cases

RECORD = Path(__file__).with_name("records") / "run-2.json"


@pytest.fixture(scope="module")
def many() -> Record:
    return with_cases(read(RECORD), 60_000)


def test_what_fits_is_kept_as_it_is(record: Record) -> None:
    kept = thinned(record)
    assert kept.record is record
    assert (kept.kept, kept.total, kept.sentence) == (41, 41, "")


def test_the_worst_of_every_check_and_all_that_fails_is_kept(many: Record) -> None:
    kept = thinned(many)
    assert (kept.total, len(kept.record.checks)) == (60_000, len(many.checks))
    assert kept.kept == sum(len(check.measurements) for check in kept.record.checks)
    assert 0.9 * MOST_KEPT < kept.kept <= MOST_KEPT
    for whole, part in zip(many.checks, kept.record.checks, strict=True):
        over = [m for m in whole.measurements if m.ratio > 1]
        assert [m for m in part.measurements if m.ratio > 1] == over
        assert max(m.ratio for m in part.measurements) == whole.worst_ratio
        assert part.model_copy(update={"measurements": []}) == whole.model_copy(
            update={"measurements": []}
        )
    assert kept.sentence.startswith(f"{kept.kept:,} of 60,000 measured cases are listed in this")


def test_of_more_failures_than_are_kept_the_largest_are(many: Record) -> None:
    half = [
        check.model_copy(
            update={
                "measurements": [
                    m.model_copy(update={"ratio": 2.0 + at})
                    for at, m in enumerate(check.measurements)
                ]
            }
        )
        for check in many.checks[:1]
    ]
    kept = thinned(many.model_copy(update={"checks": half}), most=600)
    ratios = sorted((m.ratio for m in kept.record.checks[0].measurements), reverse=True)
    largest = sorted((m.ratio for m in half[0].measurements), reverse=True)
    assert ratios[:MOST_FAILURES] == largest[:MOST_FAILURES]


def test_a_page_of_many_cases_stays_small_and_says_where_the_others_are(
    many: Record, tmp_path: Path
) -> None:
    page, beside = save(many, tmp_path / "report.html")
    text = page.read_text()
    assert len(text.encode()) < 600_000
    assert thinned(many).sentence in text
    assert beside.name == "report.cases.csv.gz"
    assert beside.name in text
    rows = list(csv.reader(io.StringIO(gzip.decompress(beside.read_bytes()).decode())))
    assert len(rows) == 60_001


def test_twenty_thousand_cases_take_less_than_promised() -> None:
    assert len(render(with_cases(read(RECORD), 20_000)).encode()) < 600_000


def test_a_check_that_is_not_judged_adds_no_points(record: Record) -> None:
    checks = [c.model_copy(update={"verdict": Verdict.NOT_JUDGED}) for c in record.checks]
    silent = record.model_copy(update={"checks": checks})
    assert series(silent) == []
    assert measured(silent) == []


def test_series_hold_what_was_measured_and_nothing_where_nothing_was(record: Record) -> None:
    (only,) = series(record)
    assert only.dtype == "float32"
    assert only.values["ratio"].tolist() == [n / 100 for n in range(1, 42)]
    assert set(only.values["condition"]) == {1e5}
    assert only.values["length"].tolist() != only.values["length"].tolist()  # NaN
    assert not only.forward.any()  # the check is called accuracy
