"""The demo tells a run as the report does."""

from pathlib import Path

from normcheck.cli.demo import _told
from normcheck.record import Record, Verdict

RECORD = Path(__file__).parents[1] / "reports" / "records" / "run-2.json"


def test_what_was_not_judged_has_not_passed() -> None:
    record = Record.model_validate_json(RECORD.read_text(encoding="utf-8"))
    passed = next(check for check in record.checks if check.verdict is Verdict.PASS)
    passing = sum(check.verdict is Verdict.PASS for check in record.checks)
    assert f"  {passing} of {len(record.checks)} checks pass, " in _told(record)
    asked = passed.model_copy(update={"verdict": Verdict.NOT_JUDGED})
    checks = tuple(asked if check is passed else check for check in record.checks)
    told = _told(record.model_copy(update={"checks": checks}))
    assert f"  {passing - 1} of {len(checks)} checks pass, " in told
