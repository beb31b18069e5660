"""``normcheck history``: the records of a folder over time. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import place_to_write
from normcheck.errors import NothingToRunError, UsageError

if TYPE_CHECKING:
    from normcheck.reports.history import Run
    from normcheck.reports.speed_history import SpeedRun

__all__ = ["command"]


@click.command("history")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="FILE.md or FILE.json; else a table is printed.",
)  # fmt: skip
def command(folder: Path, output: Path | None) -> int:
    """List the records and benches under DIR by target, the oldest first, and what changed."""
    from normcheck.reports import history
    from normcheck.reports.speed_history import speed_histories

    if not folder.is_dir():
        raise UsageError(f"DIR is {folder}, but must be a folder of run records")
    if output is not None:
        place_to_write(output, (".md", ".json"))
    records, benches = _read(folder)
    found, speeds = history.histories(records), speed_histories(benches)
    if not found and not speeds:
        raise NothingToRunError(f"{folder} holds no run record: none of its *.json files is one")
    if output is None:
        click.echo(history.text(found, speeds))
        return 0
    as_page = history.markdown if output.suffix == ".md" else history.document
    page = as_page(found, speeds).rstrip("\n") + "\n"
    output.write_text(page, encoding="utf-8")
    runs = sum(len(each.runs) for each in found)
    counts = [_counted(runs, "run"), _counted(len(found), "target")]
    click.echo(f"history: {output} ({' of '.join(counts)})")
    return 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read(folder: Path) -> tuple[list[Run], list[SpeedRun]]:
    """Return what the records and the benches of a folder say; other JSON is told and left out."""
    from normcheck.bench import document
    from normcheck.record import read
    from normcheck.reports.history import run_of
    from normcheck.reports.speed_history import speed_of

    runs, speeds = [], []
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.json.gz")]):
        name = str(path.relative_to(folder))
        try:
            runs.append(run_of(name, read(path)))
            continue
        except UsageError as error:
            why = str(error)
        try:
            speeds.append(speed_of(name, document.read(path)))
        except UsageError:
            click.echo(f"normcheck: left out: {why}", err=True)
    return runs, speeds
