"""``normcheck power``: which property catches which failure mode, where, and how soon."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from normcheck.power_matrix import Row

__all__ = ["command"]

_HELP = """Judge the known failure modes of an op: wrong implementations that must be caught.

\b
normcheck power --op layer_norm --profile quick
normcheck explain K13
"""


@click.command("power", help=_HELP)
@click.option("--op", "ops", multiple=True, help="Only this op; repeatable. All if left out.")
@click.option("--profile", default="quick", show_default=True, help="Whose corpus is judged.")
@click.option("--everywhere", is_flag=True, help="Judge the whole corpus for every property.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(ops: tuple[str, ...], profile: str, everywhere: bool, as_json: bool) -> int:
    """Print the matrix; the exit status is 1 if a failure mode gets through."""
    from normcheck import config
    from normcheck.ops import catalogue

    config.profile(profile)
    for name in ops:
        catalogue.find(name)
    from normcheck.power_matrix import rows

    found: list[Row] = []
    for op in ops or catalogue.names():
        for row in rows(op, profile, everywhere=everywhere):
            found.append(row)
            if not as_json:
                click.echo(_line(row))
    missed = [row.mode.name for row in found if not row.detections]
    if as_json:
        click.echo(json.dumps([_document(row) for row in found], indent=2))
    else:
        click.echo(_summary(found, missed))
    return 1 if missed else 0


def _line(row: Row) -> str:
    mode, first = row.mode, row.first
    if first is None:
        return f"✗ {mode.kind} {mode.name}: gets through {row.cases} cases"
    own = row.own
    late = "" if own else f"; not by {mode.caught_by} as it must be"
    others = [name for name in row.detections if name != first.property]
    also = f", {', '.join(others)}" if others else ""
    return f"✓ {mode.kind} {mode.name}  {first.seconds:.2f} s  {first.property}{also}{late}"


def _summary(found: list[Row], missed: list[str]) -> str:
    times = [row.first.seconds for row in found if row.first is not None]
    text = f"\n{len(times)} of {len(found)} failure modes caught"
    if times:
        text += f"; first detection after {statistics.median(times):.2f} s (median), "
        text += f"{max(times):.2f} s (worst)"
    return f"{text}\nmissed: {', '.join(missed)}" if missed else text


def _document(row: Row) -> dict[str, object]:
    return {
        "mode": row.mode.name,
        "kind": row.mode.kind,
        "must_be_caught_by": row.mode.caught_by,
        "cases": row.cases,
        "detections": [asdict(found) for found in row.detections.values()],
    }
