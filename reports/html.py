"""The run record as one HTML file: no server, no network, and it reads without scripts."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.bench.document import Bench
from normcheck.comparison_of_runs import Comparison
from normcheck.errors import UsageError
from normcheck.ratio import ratio_text
from normcheck.record import Check, Measurement, Record, Verdict
from normcheck.reports.bench import table
from normcheck.reports.cases_csv import cases_csv
from normcheck.reports.charts import AGAINST, Chart, against, reach, ulps
from normcheck.reports.embedding import Download, gzipped, plain, source_hash
from normcheck.reports.junit import junit
from normcheck.reports.outcomes import NAMES, outcomes
from normcheck.reports.points import MOST_FAILURES, Series, Thinned, measured, series, thinned
from normcheck.reports.reach import envelope_lines, power_lines
from normcheck.reports.speed import speed_charts
from normcheck.reports.text import (
    check_ratio_text,
    markdown,
    root_causes,
    roundings,
    verdict_text,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "render_bench", "save"]

_TEMPLATES = Path(__file__).parent / "templates"
_WORST_CASES = 50


@dataclass(frozen=True, slots=True)
class _Row:
    """One property of the coverage matrix; None where it was not selected for a dtype."""

    name: str
    checks: list[Check | None]
    columns: list[str]


def save(
    record: Record, path: Path, comparison: Comparison | None = None, bench: Bench | None = None
) -> list[Path]:
    """Write the report of a run, and beside it all cases where the page shows fewer.

    Args:
        record: The run.
        path: Where the page goes.
        comparison: Of it, as the baseline, with other implementations.
        bench: How fast they are.

    Returns:
        The files that were written, the page first.

    Raises:
        UsageError: jinja2 or matplotlib is not installed.
    """
    beside = path.with_name(f"{path.stem}.cases.csv.gz")
    path.write_text(render(record, comparison, bench, beside=beside.name), encoding="utf-8")
    if not thinned(record).sentence:
        return [path]
    beside.write_bytes(gzip.compress(cases_csv(record).encode("utf-8"), mtime=0))
    return [path, beside]


def render(
    record: Record,
    comparison: Comparison | None = None,
    bench: Bench | None = None,
    *,
    beside: str = "",
) -> str:
    """Return the report of a run; the same record gives the same text.

    Args:
        record: The run.
        comparison: Of it, as the baseline, with other implementations.
        bench: How fast they are.
        beside: What the file of all cases is called, where the page does not show all.

    Raises:
        UsageError: jinja2 or matplotlib is not installed.
    """
    properties = list(dict.fromkeys(check.property for check in record.checks))
    environment = _environment()
    carried, found = thinned(record), series(record)
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        record=record,
        comparison=comparison,
        **_speed(bench),
        charts=_charts(found),
        reaches=reach(record.envelope),
        shown=carried.sentence,
        beside=beside,
        outcome_names=NAMES,
        outcomes=outcomes(record),
        downloads=_downloads(carried),
        script=script,
        script_hash=source_hash(script),
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
    )


def render_bench(bench: Bench) -> str:
    """Return a bench as a page of its own.

    Raises:
        UsageError: jinja2 or matplotlib is not installed.
    """
    download = gzipped("bench.json", bench.to_json())
    return _environment().get_template("bench.html.j2").render(**_speed(bench), download=download)


def _speed(bench: Bench | None) -> dict[str, object]:
    """Return what the section on speed shows."""
    if bench is None:
        return {"bench": None, "speeds": [], "speed_rows": []}
    return {"bench": bench, "speeds": speed_charts(bench), "speed_rows": table(bench)}


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


def _charts(found: list[Series]) -> list[Chart]:
    made = [*(against(field, found) for field in AGAINST), ulps(found)]
    return [chart for chart in made if chart is not None]


def _worst_cases(record: Record) -> list[tuple[Check, Measurement]]:
    """All that fail, up to a number, and never fewer than the worst few."""
    found = measured(record)
    failing = sum(m.ratio > 1.0 for _, m in found)
    return found[: max(_WORST_CASES, min(failing, MOST_FAILURES))]


def _downloads(carried: Thinned) -> list[Download]:
    """Return the files in the page, the record first."""
    record = carried.record
    found = [gzipped("record.json", record.to_json())]
    found += [plain("junit.xml", junit(record)), plain("summary.md", markdown(record))]
    scripts = [
        f"# {check.id}: {failure.case}\n{failure.reproducer.rstrip()}\n"
        for check in record.checks
        for failure in check.failures
        if failure.reproducer
    ]
    return [*found, plain("reproducers.py.txt", "\n\n".join(scripts))] if scripts else found
