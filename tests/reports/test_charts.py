"""normcheck.reports.charts: pictures whose words and numbers are those of the record."""

from __future__ import annotations

import re

import numpy as np
import pytest

from normcheck.ratio import ratio_text
from normcheck.record import Limit, Point
from normcheck.reports.charts import AGAINST, against, reach, ulps
from normcheck.reports.points import Series


def measured(dtype: str, **columns: list[float]) -> Series:
    count = len(columns["ratio"])
    filled = {name: [float("nan")] * count for name in (*AGAINST, "ulps")} | columns
    values = {name: np.array(column, dtype=float) for name, column in filled.items()}
    return Series(dtype, values, np.array([True] * count))


def test_a_chart_says_where_the_budget_is_exceeded() -> None:
    chart = against(
        "length",
        [
            measured("float32", ratio=[0.5, 3.0, 7.0], length=[10, 100, 999]),
            measured("bfloat16", ratio=[0.9], length=[20]),
        ],
    )
    assert chart is not None
    assert chart.finding == "2 of 4 are over budget, from 100 to 999."
    assert chart.columns == (AGAINST["length"], "float32", "bfloat16")
    told = {cell for row in chart.rows for cell in row[1:] if cell}
    assert told == {ratio_text(ratio) for ratio in (0.5, 3.0, 7.0, 0.9)}


def test_each_level_is_the_worst_of_its_width() -> None:
    chart = against(
        "condition", [measured("float32", ratio=[0.2, 0.8, 0.4], condition=[5, 5.01, 9e3])]
    )
    assert chart is not None
    assert [row[1] for row in chart.rows] == [ratio_text(0.8), ratio_text(0.4)]
    low, high = map(float, chart.rows[0][0].split(" to "))
    assert low <= 5.0 <= 5.01 <= high
    assert chart.finding == f"None of 3 is over budget; the worst is {ratio_text(0.8)}."


def test_what_has_no_place_along_x_is_passed_over() -> None:
    assert against("eps_share", [measured("float32", ratio=[0.5])]) is None
    assert ulps([]) is None


def test_the_histogram_counts_both_sides() -> None:
    off = [-5000.0, -3.0, -0.5, 0.0, 0.99, 1.0, 70.0, 1e9]
    chart = ulps([measured("float16", ratio=[0.1] * 8, ulps=off)])
    assert chart is not None
    counts = dict(zip(chart.columns[1:], map(int, chart.rows[0][1:]), strict=True))
    assert sum(counts.values()) == len(off)
    assert counts["below -4096"] == 1
    assert counts["-4 to -2"] == 1
    assert counts["-1 to 1"] == 3
    assert counts["1 to 2"] == 1
    assert counts["above 4096"] == 1
    assert chart.finding == "2 cases are off by more than 1 ulp to below, 2 to above."


@pytest.mark.parametrize("beyond", [None, 14.3])
def test_a_reach_is_told_where_it_ends(beyond: float | None) -> None:
    curve = [Point(value=2.0, ratio=0.5), Point(value=20.0, ratio=3.0)]
    limits = [Limit(axis="length", dtype="float32", within=9.0, beyond=beyond, curve=curve)]
    (chart,) = reach(limits)
    expected = (
        "Over budget: float32 at 14.3." if beyond else "Within budget as far as it can be judged."
    )
    assert chart.finding == expected
    assert [row[1:] for row in chart.rows] == [("2", ratio_text(0.5)), ("20", ratio_text(3.0))]


def test_pictures_have_text_in_the_colours_of_the_page_and_no_ids_in_common() -> None:
    found = [measured("float32", ratio=[0.5, 3.0], length=[10, 100], condition=[1, 2])]
    pictures = [c.svg for field in ("length", "condition") if (c := against(field, found))]
    assert len(pictures) == 2
    ids = [set(re.findall(r' id="(.*?)"', picture)) for picture in pictures]
    assert not ids[0] & ids[1]
    for picture in pictures:
        assert "budget 1×</text>" in picture
        assert "currentColor" in picture
        assert "var(--fail-edge)" in picture
        assert "http" not in picture.replace("data:", "")


def test_text_that_looks_like_a_formula_or_markup_is_drawn_as_it_is() -> None:
    chart = against("length", [measured("$x^{$<script>", ratio=[0.5], length=[10])])
    assert chart is not None
    assert "$x^{$&lt;script&gt;" in chart.svg
    assert "<script>" not in chart.svg


def test_the_same_points_give_the_same_bytes() -> None:
    found = [measured("float32", ratio=[0.5, 3.0], length=[10, 100])]
    first, second = against("length", found), against("length", found)
    assert first == second
