from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from normcheck.ratio import ratio_text
from normcheck.record import Check, Record, Verdict
from normcheck.reports.text import (
    RootCause,
    cause_text,
    check_ratio_text,
    markdown,
    root_causes,
    roundings,
    summary,
)

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0"),
        (1e-9, f"<0.001{TIMES}"),
        (0.0154, f"0.015{TIMES}"),
        (0.0996, f"0.10{TIMES}"),
        (0.41, f"0.41{TIMES}"),
        (0.9999, f"0.99{TIMES}"),
        (1.0, f"1.00{TIMES}"),
        (1.0000001, f"1.01{TIMES}"),
        (4.949, f"4.95{TIMES}"),
        (9.996, f"10{TIMES}"),
        (31.2, f"31{TIMES}"),
        (1000.0, f"1000{TIMES}"),
        (1000.01, f">1000{TIMES}"),
        (1234.0, f">1000{TIMES}"),
        (float("inf"), f">1000{TIMES}"),
        (float("nan"), "?"),
    ],
)
def test_a_ratio_prints_as_a_short_number(ratio: float, text: str) -> None:
    assert ratio_text(ratio) == text


@given(st.floats(min_value=0, max_value=1e12))
@example(1 - 2.0**-53)
@example(1 + 2.0**-52)
def test_a_ratio_is_never_rounded_across_the_budget(ratio: float) -> None:
    printed = float(ratio_text(ratio).strip(f"<>{TIMES}"))
    assert (printed > 1) == (ratio > 1)
    assert (printed < 1) == (ratio < 1)


@given(st.floats(min_value=0, max_value=1000), st.floats(min_value=0, max_value=1000))
def test_a_larger_ratio_never_prints_as_a_smaller_number(a: float, b: float) -> None:
    smaller, larger = (float(ratio_text(r).strip(f"<{TIMES}")) for r in sorted((a, b)))
    assert smaller <= larger


def test_a_failure_that_no_budget_measures_does_not_print_as_zero(record: Record) -> None:
    (check,) = (c for c in record.checks if c.property == "determinism")
    assert check_ratio_text(check) == "fail"


def test_every_failing_check_is_named_in_both_texts(record: Record) -> None:
    failing = [check.id for check in record.checks if check.verdict is Verdict.FAIL]
    assert len(failing) == 3
    for check_id in failing:
        assert check_id in summary(record)
        assert check_id in markdown(record)


def test_a_case_that_fails_two_checks_is_explained_once(record: Record) -> None:
    text = summary(record)
    assert text.count("nc1:rms_norm/bf16/1x1/constant/eps=1e-06/seed=7") == 1
    assert f"the same case also fails: rms_norm-bfloat16-cpu-accuracy (31{TIMES})" in text


def test_the_worst_root_cause_comes_first(record: Record) -> None:
    leads = [cause.lead.property for cause in root_causes(record)]
    assert leads == ["overflow", "determinism"]


def test_among_equal_ratios_an_explained_failure_comes_first(record: Record) -> None:
    capped = [c.model_copy(update={"worst_ratio": 1e12}) for c in record.checks]
    causes = root_causes(record.model_copy(update={"checks": capped}))
    assert causes[0].lead.property == "overflow"


def test_a_failing_check_without_an_example_is_still_reported(record: Record) -> None:
    bare = [c.model_copy(update={"failures": []}) for c in record.checks]
    text = summary(record.model_copy(update={"checks": bare}))
    assert text.count("The record holds no example of this failure.") == 3


def test_each_dtype_has_one_line_of_counts_and_its_worst(record: Record) -> None:
    lines = summary(record).splitlines()
    assert f"  float32     3 pass   0 fail   0 not judged   worst 0.41{TIMES} accuracy" in lines
    assert f"  bfloat16    1 pass   2 fail   0 not judged   worst >1000{TIMES} overflow" in lines
    assert "  float16     0 pass   1 fail   1 not judged   worst fail determinism" in lines


def test_what_was_not_checked_is_listed(record: Record) -> None:
    text = summary(record)
    assert "? no backward: rms_norm-float16-cpu-gradient" in text
    assert "float64: the target refused 9 cases, such as nc1:rms_norm/f64" in text
    assert "TypeError: no float64" in text
    assert "\n  no bias\n" in text
    assert "cannot tell right from wrong: rms_norm-float32-cpu-gradient (3)" in text


def test_a_run_that_judged_nothing_shows_no_ratio(not_judged: Record) -> None:
    text = summary(not_judged)
    assert text.startswith("? NOT JUDGED  mykernels:rms_norm")
    assert "worst ?" in text
    assert TIMES not in text


def test_an_empty_run_and_an_early_end_are_said(record: Record) -> None:
    empty = record.model_copy(update={"checks": [], "incomplete": "interrupted"})
    assert "0 of 0 checks fail" in summary(empty)
    assert "INCOMPLETE: interrupted" in summary(empty)
    assert "INCOMPLETE: `interrupted`" in markdown(empty)


def test_the_summary_ends_with_what_repeats_the_run(record: Record) -> None:
    assert summary(record).splitlines()[-2:] == [
        "seed    20261121",
        "repeat  normcheck run mykernels:rms_norm --op rms_norm --seed 20261121",
    ]


def test_equal_rounding_policies_are_listed_once_with_their_properties(record: Record) -> None:
    again = [*record.checks, record.checks[0].model_copy(update={"property": "shift"})]
    found = roundings(record.model_copy(update={"checks": again}))
    assert [(r.dtype, r.tensor, str(r), r.properties) for r in found] == [
        ("float32", "y", "fused", ("accuracy", "shift")),
        ("bfloat16", "y", "fused or cast_then_scale", ("gradient",)),
        ("bfloat16", "dx", "no known policy explains all cases", ("gradient",)),
    ]


def test_a_passing_run_names_no_failure(passing: Record) -> None:
    text = summary(passing)
    assert text.startswith("✓ PASS  mykernels:rms_norm")
    assert "✗" not in text


def test_a_target_cannot_steer_the_terminal(record: Record) -> None:
    text = summary(record.model_copy(update={"notes": ["\x1b[2J\u202egreen", "a\rb"]}))
    assert "\\u001b[2J\\u202egreen" in text
    assert "\r" not in text


def test_the_table_puts_failing_checks_first_and_keeps_one_row_a_check(record: Record) -> None:
    rows = [line for line in markdown(record).splitlines() if line.startswith("| `")]
    assert len(rows) == len(record.checks)
    assert ["✗ FAIL" in row for row in rows] == [True] * 3 + [False] * 5


def test_hostile_text_stays_in_its_markdown_cell(record: Record) -> None:
    hostile: Check = record.checks[0].model_copy(update={"id": "a|b`<img>\n| x"})
    table = markdown(record.model_copy(update={"checks": [hostile]}))
    assert "| `a\\|b'<img> \\| x` | ✓ PASS |" in table


def test_a_cause_for_a_test_fits_on_a_screen(record: Record) -> None:
    failing = [check for check in record.checks if check.failures]
    lead = failing[0].model_copy(update={"failing_cases": 7, "cases": 9})
    message = "\n".join(f"line {n}" for n in range(18))
    failure = lead.failures[0].model_copy(update={"message": message})
    lead = lead.model_copy(update={"failures": [failure]})
    text = cause_text(RootCause(lead, tuple([failing[0]] * 6)))
    assert len(text.splitlines()) == 19
    assert text.splitlines()[-1].startswith("fails in 7 of 9 cases; the same case also fails ")
    assert text.endswith(", 2 more")
