"""``normcheck history``: the records of a folder over time. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import place_to_write
from normcheck.errors import NothingToRunError, UsageError

if TYPE_CHECKING:
    from normcheck.reports.history import Run

__all__ = ["command"]


@click.command("history")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="FILE.md or FILE.json; else a table is printed.",
)  # fmt: skip
def command(folder: Path, output: Path | None) -> int:
    """List the records under DIR by target and op, the oldest first, and what changed."""
    from normcheck.reports import history

    if not folder.is_dir():
        raise UsageError(f"DIR is {folder}, but must be a folder of run records")
    if output is not None:
        place_to_write(output, (".md", ".json"))
    found = history.histories(_runs(folder))
    if not found:
        raise NothingToRunError(f"{folder} holds no run record: none of its *.json files is one")
    if output is None:
        click.echo(history.text(found))
        return 0
    page = history.markdown(found) if output.suffix == ".md" else history.document(found) + "\n"
    output.write_text(page, encoding="utf-8")
    runs = sum(len(each.runs) for each in found)
    counts = [_counted(runs, "run"), _counted(len(found), "target")]
    click.echo(f"history: {output} ({' of '.join(counts)})")
    return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _runs(folder: Path) -> Iterator[Run]:
    """Yield what the records of a folder say; other JSON is told and left out."""
    from normcheck.record import read
    from normcheck.reports.history import run_of

    for path in sorted(folder.rglob("*.json")):
        try:
            record = read(path)
        except (UsageError, UnicodeDecodeError) as error:
            why = str(error) if isinstance(error, UsageError) else f"{path} is not UTF-8"
            click.echo(f"normcheck: left out: {why}", err=True)
            continue
        yield run_of(str(path.relative_to(folder)), record)
