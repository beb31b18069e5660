"""``normcheck report``: render a record again. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("report")
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="FILE.html or FILE.md; else a summary."
)
def command(record: Path, output: Path | None) -> int:
    """Render RECORD, the JSON of an earlier run, as HTML, Markdown or text."""
    from normcheck.record import read
    from normcheck.reports.text import markdown, summary

    found = read(record)
    if output is None:
        click.echo(summary(found))
        return 0
    if output.suffix == ".md":
        text = markdown(found)
    elif output.suffix in (".html", ".htm"):
        from normcheck.reports.html import render

        text = render(found)
    else:
        raise click.UsageError(f"output is {output}, but must end in .html or .md")
    output.write_text(text, encoding="utf-8")
    click.echo(f"report: {output} ({(output.stat().st_size + 1023) // 1024} kB)")
    return 0
