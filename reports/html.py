"""The run record as one HTML file that needs no script, no server and no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.errors import UsageError
from normcheck.ratio import ratio_text
from normcheck.record import Check, Measurement, Record, Verdict
from normcheck.reports.reach import envelope_lines, power_lines
from normcheck.reports.text import (
    check_ratio_text,
    root_causes,
    roundings,
    verdict_text,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]

_TEMPLATES = Path(__file__).parent / "templates"
_WORST_CASES = 20


@dataclass(frozen=True, slots=True)
class _Row:
    """One property of the coverage matrix; None where it was not selected for a dtype."""

    name: str
    checks: list[Check | None]
    columns: list[str]


def render(record: Record) -> str:
    """Return the report of a run; the same record gives the same text.

    Raises:
        UsageError: jinja2 is not installed.
    """
    properties = list(dict.fromkeys(check.property for check in record.checks))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            Verdict=Verdict,
            properties=properties,
            rows=list(_rows(record, properties)),
            power_lines=power_lines(record),
            envelope_lines=envelope_lines(record),
            causes=root_causes(record),
            worst_cases=_worst_cases(record),
            roundings=roundings(record),
            not_judged=[c for c in record.checks if c.verdict is Verdict.NOT_JUDGED],
            without_power=[c for c in record.checks if c.without_power],
            record_json=_inert_json(record),
        )
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise UsageError(
            "the HTML report needs jinja2, which is not installed: pip install 'normcheck[reports]'"
        ) from None
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "check_ratio": check_ratio_text,
        "count": "{:,}".format,
        "number": "{:.4g}".format,
        "ratio": ratio_text,
        "verdict": verdict_text,
    }
    return environment


def _rows(record: Record, properties: list[str]) -> Iterator[_Row]:
    cells = {(c.dtype, c.device, c.property): c for c in record.checks}
    one_device = len({check.device for check in record.checks}) == 1
    places = list(dict.fromkeys((check.dtype, check.device) for check in record.checks))
    columns = [dtype if one_device else f"{dtype} · {device}" for dtype, device in places]
    for prop in properties:
        yield _Row(prop, [cells.get((dtype, device, prop)) for dtype, device in places], columns)


def _worst_cases(record: Record) -> list[tuple[Check, Measurement]]:
    measured = [(check, m) for check in record.checks for m in check.measurements]
    return sorted(measured, key=lambda pair: -pair[1].ratio)[:_WORST_CASES]


def _inert_json(record: Record) -> str:
    # Escapes that are valid JSON: no string of the record can close the script element or open a
    # comment in it.
    text = record.to_json()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
