"""normcheck.reports.speed: what a bench shows is what its document says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normcheck.bench.document import Bench, Direction
from normcheck.bench.document import read as read_bench
from normcheck.record import Verdict, read
from normcheck.reports.html import render, render_bench
from normcheck.reports.speed import speed_charts

from .test_html import HOSTILE, Page

RECORDS = Path(__file__).with_name("records")
FAILS = "norms.py:rms_norm_in_half"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return read_bench(RECORDS / "bench-1.json")


def test_each_direction_has_a_chart_of_speed_and_one_of_accuracy(bench: Bench) -> None:
    assert [chart.title for chart in speed_charts(bench)] == [
        "Bandwidth, bfloat16 forward", "Accuracy against speed, bfloat16 forward",
        "Bandwidth, bfloat16 backward", "Accuracy against speed, bfloat16 backward",
    ]  # fmt: skip


def test_the_fastest_that_passes_is_named_with_its_share_of_a_copy(bench: Bench) -> None:
    for chart, direction in zip(speed_charts(bench)[::2], Direction, strict=True):
        rows = [r for r in bench.rows if r.direction == direction and r.size == 4096]
        assert any(r.implementation == FAILS for r in rows)
        best = min((r for r in rows if r.verdict is Verdict.PASS), key=lambda r: r.median_s or 0)
        copy = next(c for c in bench.copies if c.bytes == best.bytes)
        share = 100 * (best.bytes / (best.median_s or 1) / 1e9) / copy.gb_per_s
        expected = f"At 4096, {best.implementation} is the fastest that passes: {share:.0f} % of"
        assert chart.finding.startswith(expected)


def test_what_fails_is_never_on_the_front_and_its_times_are_struck_out(bench: Bench) -> None:
    for chart in speed_charts(bench)[1::2]:
        told = {row[0]: (row[1], row[-1]) for row in chart.rows}
        assert told[FAILS] == ("fail", "no")
        assert any(front == "yes" for _, front in told.values())
        assert FAILS not in chart.finding
    page = render_bench(bench)
    failing = sum(row.implementation == FAILS for row in bench.rows)
    assert page.count('<span class="struck">') == failing
    assert all(FAILS in line for line in page.splitlines() if 'class="struck"' in line)


def test_a_bench_can_stand_in_a_report(bench: Bench) -> None:
    record = read(RECORDS / "run-2.json")
    with_speed, without = Page(render(record, bench=bench)), Page(render(record))
    assert 'id="speed"' in render(record, bench=bench)
    assert "Accuracy against speed" in with_speed.visible
    assert "Accuracy against speed" not in without.visible


def test_names_stay_text(bench: Bench) -> None:
    rows = [r.model_copy(update={"implementation": f"{HOSTILE}{r.size}"}) for r in bench.rows]
    page = Page(render_bench(bench.model_copy(update={"rows": rows, "target": HOSTILE})))
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert HOSTILE in page.visible


def test_the_page_asks_for_nothing(bench: Bench) -> None:
    source = render_bench(bench)
    assert not re.search(r"url\((?!#)|@import|https?://|<script", source)
    assert source == render_bench(Bench.model_validate_json(bench.to_json()))


def test_an_implementation_that_stops_at_a_size_leaves_a_gap(bench: Bench) -> None:
    first = bench.rows[0].implementation
    stopped = {"median_s": None, "gb_per_s": None, "reason": "RuntimeError: too long"}
    rows = [
        r.model_copy(update=stopped) if r.implementation == first and r.size == 4096 else r
        for r in bench.rows
    ]
    chart = speed_charts(bench.model_copy(update={"rows": rows}))[0]
    assert not chart.finding.startswith(f"At 4096, {first} ")
    column = chart.columns.index(first)
    assert [row[column] for row in chart.rows][-1] == "-"
