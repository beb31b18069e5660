"""``normcheck compare``: what got worse from one record to others. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import fail_on_option, fail_on_values, place_to_write

if TYPE_CHECKING:
    from normcheck.comparison_of_runs import Comparison
    from normcheck.record import Record

__all__ = ["command"]

_HELP = """Compare records of one op with the first of them, on the cases that both measured.

\b
normcheck compare before.json after.json
normcheck compare torch.json mine.json theirs.json -o compared.md

Exit status 1 on a new failure, on a ratio twice as bad, or on a check that is no longer judged.
"""


@click.command("compare", help=_HELP)
@click.argument("baseline", type=click.Path(path_type=Path), metavar="A.json")
@click.argument(
    "others", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="B.json..."
)
@fail_on_option("new-failure,worse")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="FILE.md or FILE.html, written beside what is printed.",
)  # fmt: skip
def command(
    baseline: Path, others: tuple[Path, ...], fail_on: tuple[str, ...], output: Path | None
) -> int:
    """Compare; the words of the command line as typed."""
    from normcheck.comparison_of_runs import compare_all
    from normcheck.errors import UsageError
    from normcheck.record import read
    from normcheck.reports.comparison import heading, text

    asked = fail_on_values(fail_on)
    if output is not None:
        place_to_write(output, (".md", ".html", ".htm"))
    paths = [baseline, *others]
    records = [read(path) for path in paths]
    first = records[0]
    for path, record in zip(others, records[1:], strict=True):
        if record.op != first.op:
            raise UsageError(
                f"{baseline} is of {first.op}, but {path} of {record.op}: nothing to compare"
            )
    found = compare_all(first, records[1:], names=[str(path) for path in paths])
    for path, record in zip(paths, records, strict=True):
        click.echo(heading(str(path), record))
    click.echo(f"\n{text(found)}")
    if output is not None:
        files = _written(output, found, records, [str(path) for path in paths])
        click.echo(f"comparison: {', '.join(map(str, files))}")
    return int(found.fails(asked))


def _written(
    output: Path, compared: Comparison, records: Sequence[Record], names: Sequence[str]
) -> list[Path]:
    """Write the comparison as Markdown, or as a report of the first record."""
    if output.suffix != ".md":
        from normcheck.reports.html import save

        return save(records[0], output, compared)
    from normcheck.reports.comparison import heading, markdown

    headings = [f"    {heading(n, record)}" for n, record in zip(names, records, strict=True)]
    page = markdown(compared)
    output.write_text("\n".join([*headings, "", page]), encoding="utf-8")
    return [output]
