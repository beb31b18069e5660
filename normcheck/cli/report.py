"""``normcheck report``: render a record again. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import place_to_write
from normcheck.errors import UsageError

if TYPE_CHECKING:
    from normcheck.record import Record

__all__ = ["command"]

_PAGES = (".html", ".htm")
_ENDINGS = (*_PAGES, ".md", ".xml", ".csv")


@click.command("report")
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="FILE.html, FILE.md, FILE.xml (JUnit) or FILE.csv (all measured cases); else a summary.",
)  # fmt: skip
@click.option(
    "--bench", "bench_of", type=click.Path(path_type=Path), metavar="FILE",
    help="JSON of `normcheck bench`, shown in FILE.html.",
)  # fmt: skip
def command(record: Path, output: Path | None, bench_of: Path | None) -> int:
    """Render RECORD, the JSON of an earlier run, as HTML, Markdown, JUnit, CSV or text."""
    from normcheck.record import read
    from normcheck.reports.text import summary

    if output is not None:
        place_to_write(output, _ENDINGS)
    found = read(record)
    if bench_of is not None and (output is None or output.suffix not in _PAGES):
        raise UsageError(f"--bench is {bench_of}, but only a page shows it: add -o report.html")
    if output is None:
        click.echo(summary(found))
        return 0
    files = _written(found, output, bench_of)
    click.echo(f"report: {', '.join(f'{file} ({_kilobytes(file)} kB)' for file in files)}")
    return 0


def _kilobytes(file: Path) -> int:
    return (file.stat().st_size + 1023) // 1024


def _written(record: Record, output: Path, bench_of: Path | None) -> list[Path]:
    """Write a record in the format of a file's ending, and return the files."""
    if output.suffix == ".md":
        from normcheck.reports.text import markdown

        text = markdown(record)
    elif output.suffix == ".xml":
        from normcheck.reports.junit import junit

        text = junit(record)
    elif output.suffix == ".csv":
        from normcheck.reports.cases_csv import cases_csv

        text = cases_csv(record)
    else:
        from normcheck.bench import document
        from normcheck.reports.html import save

        bench = document.read(bench_of) if bench_of else None
        if bench is not None and bench.op != record.op:
            raise UsageError(f"{bench_of} is of {bench.op}, but the record of {record.op}")
        return save(record, output, bench=bench)
    output.write_text(text, encoding="utf-8")
    return [output]
