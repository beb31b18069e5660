"""normcheck.comparison_of_runs: expected numbers are worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from normcheck.comparison_of_runs import FailOn, compare, compare_all, is_worse
from normcheck.record import Check, Measurement, Record, Verdict, read

RECORDS = Path(__file__).parent.parent / "reports" / "records"
BASE = read(RECORDS / "run-2.json")
TIMES = "\N{MULTIPLICATION SIGN}"


def checked(
    name: str, ratios: Mapping[str, float], verdict: Verdict | None = None, **fields: object
) -> Check:
    """A check of some cases, whose ulps are ten times their ratios."""
    measured = [
        Measurement(case=case, ratio=ratio, condition=1.0, ulps=-10 * ratio)
        for case, ratio in ratios.items()
    ]
    worst = max(ratios.values(), default=0.0)
    given = {
        "id": name, "property": name, "dtype": "float32", "device": "cpu", "cases": len(ratios),
        "verdict": verdict or (Verdict.FAIL if worst > 1 else Verdict.PASS),
        "worst_ratio": worst, "measurements": measured,
    }  # fmt: skip
    return Check.model_validate(given | fields)


def recorded(target: str, *checks: Check, **fields: object) -> Record:
    fails = any(check.verdict is Verdict.FAIL for check in checks)
    verdict = Verdict.FAIL if fails else Verdict.PASS
    given = {"target": target, "checks": list(checks), "verdict": verdict}
    return BASE.model_copy(update=given | fields)


def changes(before: Check | None, after: Check | None) -> list[str]:
    sides = [recorded("t", *([check] if check else [])) for check in (before, after)]
    return [difference.change for difference in compare(*sides)]


def no(name: str) -> Check:
    return checked(name, {}, Verdict.NOT_JUDGED, reason="no such kernel")


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (checked("a", {"p": 0.4}), checked("a", {"p": 31.0}), "new failure"),
        (checked("a", {"p": 31.0}), checked("a", {"p": 0.4}), "fixed"),
        (checked("a", {"p": 0.4}), checked("a", {"p": 0.8}), "worse"),
        (checked("a", {"p": 0.4}), checked("a", {"p": 0.79}), "same"),
        (checked("a", {"p": 0.8}), checked("a", {"p": 0.4}), "better"),
        (checked("a", {"p": 0.0}), checked("a", {"p": 0.1}), "worse"),
        (checked("a", {"p": 0.0}), checked("a", {"p": 0.0}), "same"),
        (checked("a", {"p": 0.4}), checked("a", {"q": 0.9}), "no shared case"),
        (checked("a", {}), checked("a", {}), "same"),
        (checked("a", {"p": 0.4}), None, "gone"),
        (checked("a", {"p": 0.4}), no("a"), "gone"),
        (None, checked("a", {"p": 0.4}), "new"),
        (no("a"), checked("a", {"p": 31.0}), "new failure"),
    ],
)
def test_a_check_changes_as_its_verdicts_and_its_shared_ratios_say(
    before: Check | None, after: Check | None, change: str
) -> None:
    assert changes(before, after) == [change]


def test_a_check_that_neither_run_judged_is_no_difference() -> None:
    assert changes(no("a"), no("a")) == []
    assert changes(no("a"), None) == []


def test_a_case_that_only_one_run_measured_does_not_make_it_worse() -> None:
    before = recorded("t", checked("a", {"p": 0.1, "q": 0.2}))
    after = recorded("t", checked("a", {"p": 0.1, "r": 0.9}))
    (difference,) = compare(before, after)
    assert (difference.change, difference.shared_cases) == ("same", 1)
    assert difference.after == f"pass 0.10{TIMES}"


def test_a_failure_on_a_case_of_its_own_is_new_and_is_told_as_such() -> None:
    before = recorded("t", checked("a", {"p": 0.1}))
    after = recorded("t", checked("a", {"p": 0.2, "r": 31.0}))
    (difference,) = compare(before, after)
    assert difference.change == "new failure"
    assert difference.after == f"fail 0.20{TIMES}, 31{TIMES} on a case of its own"


def test_a_failure_that_no_budget_measures_has_no_ratio() -> None:
    (difference,) = compare(
        recorded("t", checked("a", {})), recorded("t", checked("a", {}, Verdict.FAIL))
    )
    assert (difference.before, difference.after) == ("pass 0", "fail")


def test_differences_come_the_worst_first() -> None:
    before = {"a": 0.4, "b": 0.1, "c": 0.1, "d": 0.1, "e": 0.8, "f": 0.5}
    after = {"a": 0.4, "b": 0.3, "c": 0.9, "d": 5.0, "e": 0.1}
    found = compare(
        recorded("t", *(checked(name, {"p": ratio}) for name, ratio in before.items())),
        recorded("t", *(checked(name, {"p": ratio}) for name, ratio in after.items())),
    )
    assert "".join(difference.check for difference in found) == "dfcbea"
    assert [d.is_regression for d in found] == [True, True, True, True, False, False]


def test_twice_as_bad_begins_at_two() -> None:
    assert is_worse(0.25, 0.5)
    assert not is_worse(0.25, 0.499)
    assert not is_worse(0.0, 0.0)


def test_a_side_is_measured_on_the_cases_that_the_baseline_measured_too() -> None:
    first = recorded("first", checked("a", {"p": 0.1, "q": 0.3, "r": 0.9}))
    second = recorded("second", checked("a", {"p": 0.2, "q": 0.4, "s": 7.0}), no("b"))
    found = compare_all(first, [second])
    assert (found.baseline.cases, found.baseline.shared_cases) == (3, 3)
    assert (found.baseline.worst_ratio, found.baseline.median_ulps) == (0.9, 3.0)
    (side,) = found.others
    assert (side.name, side.checks, side.fails, side.cases) == ("second", 1, 1, 3)
    assert (side.shared_cases, side.worst_ratio, side.baseline_worst_ratio) == (2, 0.4, 0.3)
    # Of 2 and 4 ulps, and of 1 and 3; magnitudes, for the sign of an error is no merit.
    assert (side.median_ulps, side.baseline_median_ulps) == (3.0, 2.0)


def test_each_record_is_compared_with_the_first() -> None:
    first, same, worse = (
        recorded(name, checked("a", {"p": ratio}))
        for name, ratio in (("first", 0.1), ("same", 0.1), ("worse", 0.6))
    )
    found = compare_all(first, [same, worse], names=["1", "2", "3"])
    assert [(d.other, d.change) for d in found.differences] == [(1, "worse"), (0, "same")]
    assert [d.change for d in found.of(1)] == ["worse"]
    assert [side.name for side in found.others] == ["2", "3"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"incomplete": "t ended the process"}, "t ended the process"),
        ({"checks": []}, "no case of this run applies"),
        ({}, "no such kernel"),
    ],
)
def test_a_side_of_which_nothing_was_judged_says_why(
    fields: dict[str, object], reason: str
) -> None:
    silent = recorded("t", no("a"), **fields)
    (side,) = compare_all(recorded("u", checked("a", {"p": 0.1})), [silent]).others
    assert (side.checks, side.reason, side.worst_ratio, side.median_ulps) == (0, reason, None, None)


@pytest.mark.parametrize(
    ("after", "asked", "fails"),
    [
        (checked("a", {"p": 9.0}), FailOn.NEW_FAILURE, True),
        (checked("a", {"p": 9.0}), FailOn.WORSE, False),
        (checked("a", {"p": 0.9}), FailOn.WORSE, True),
        (checked("a", {"p": 0.9}), FailOn.NEW_FAILURE, False),
        (no("a"), FailOn.WORSE, True),
        (checked("a", {"p": 9.0}), FailOn.ANY_FAILURE, True),
        (checked("a", {"p": 0.9}), FailOn.ANY_FAILURE, False),
        (checked("a", {"p": 9.0}), FailOn.NEVER, False),
    ],
)
def test_a_comparison_fails_on_what_was_asked(after: Check, asked: FailOn, fails: bool) -> None:
    found = compare_all(recorded("t", checked("a", {"p": 0.1})), [recorded("t", after)])
    assert found.fails({asked}) is fails


def test_an_old_failure_fails_only_where_any_failure_was_asked_for() -> None:
    failing = recorded("t", checked("a", {"p": 9.0}))
    found = compare_all(failing, [failing])
    assert not found.fails({FailOn.NEW_FAILURE, FailOn.WORSE})
    assert found.fails({FailOn.ANY_FAILURE})
