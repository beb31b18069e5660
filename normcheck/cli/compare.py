"""``normcheck compare``: what got worse from one record to another. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("compare")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
def command(before: Path, after: Path) -> int:
    """Compare two records of one op; exit status 1 on a new failure or a ratio twice as bad."""
    from normcheck.comparison_of_runs import compare
    from normcheck.errors import UsageError
    from normcheck.record import read

    first, second = read(before), read(after)
    if first.op != second.op:
        raise UsageError(
            f"{before} is of {first.op}, but {after} of {second.op}: nothing to compare"
        )
    differences = compare(first, second)
    click.echo(f"before  {first.target}  {first.profile}, seed {first.seed}")
    click.echo(f"after   {second.target}  {second.profile}, seed {second.seed}")
    for difference in differences:
        if difference.change != "same":
            click.echo(
                f"  {difference.change:12} {difference.check}: "
                f"{difference.before} -> {difference.after}"
            )
    same = sum(difference.change == "same" for difference in differences)
    click.echo(f"{same} of {len(differences)} checks are the same")
    return int(any(difference.is_regression for difference in differences))
