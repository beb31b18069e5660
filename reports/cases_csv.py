"""The measurements of a run as comma-separated values, for spreadsheets. Imports no torch."""

from __future__ import annotations

import csv
import io

from normcheck.record import Check, Measurement, Record

__all__ = ["COLUMNS", "cases_csv"]

COLUMNS = (
    "target", "op", "check", "property", "dtype", "device", "check_verdict", "case", "ratio",
    "condition", "ulps", "magnitude", "eps_share", "length",
)  # fmt: skip
# A spreadsheet takes text that begins so for a formula, and executes it. White space is skipped.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cases_csv(record: Record) -> str:
    """Return a row for each measured case of each check, below a row of `COLUMNS`.

    Text that a spreadsheet would execute begins with an apostrophe; numbers are as they are, and
    what was not measured is empty. A check that measures nothing, such as one of equal bits, has no
    rows.
    """
    stream = io.StringIO()
    # A line of a CSV file ends the same on every system: whoever writes it may translate.
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for check in record.checks:
        for measurement in check.measurements:
            writer.writerow(_row(record, check, measurement))
    return stream.getvalue()


def _row(record: Record, check: Check, measured: Measurement) -> list[str | float | None]:
    texts = [
        record.target, record.op, check.id, check.property, check.dtype, check.device,
        str(check.verdict), measured.case,
    ]  # fmt: skip
    numbers = [
        measured.ratio, measured.condition, measured.ulps, measured.magnitude, measured.eps_share,
        measured.length,
    ]  # fmt: skip
    return [*map(_inert, texts), *numbers]


def _inert(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
