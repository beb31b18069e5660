"""Implementations side by side on the same cases, as text and as Markdown. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normcheck.comparison_of_runs import CHANGES, Comparison, Difference, Side
from normcheck.ratio import ratio_text
from normcheck.record import Record
from normcheck.reports.text import code, printable, table, verdict_text

__all__ = ["heading", "markdown", "text"]

_COLUMNS = (
    "implementation", "verdict", "checks", "fail", "shared cases", "worst ratio", "baseline's",
    "median |ulps|", "baseline's",
)  # fmt: skip
_ALWAYS = ("worse", "better", "same")
_PLURALS = {"new failure": "new failures", "no shared case": "without a shared case"}
_WORDS = {"gone": "no longer judged", "no shared case": "without a shared case", "new": "new"}


def heading(name: str, record: Record) -> str:
    """Return the line that says what one of the compared records is of."""
    parts = [name, record.target] if name != record.target else [name]
    policies = [f"--policy {key}={value}" for key, value in record.policies.items()]
    return printable("  ".join([*parts, f"{record.profile}, seed {record.seed}", *policies]))


def text(comparison: Comparison, changes: Sequence[Comparison] | None = None) -> str:
    """Return what differs, how much does, and a table of all sides.

    Args:
        comparison: Of which the table is.
        changes: Whose differences are told; those of ``comparison`` if left out.
    """
    blocks = []
    for baseline, other, told in _pairs(comparison, changes):
        lines = [_between(baseline, other), *map(_line, _different(told)), f"  {_counts(told)}"]
        blocks.append("\n".join(lines))
    lines = table([_COLUMNS, *_rows(comparison)], left=(0, 1))
    lines += [f"not judged: {side.name}: {side.reason}" for side in _silent(comparison)]
    return printable("\n\n".join([*blocks, "\n".join(lines)]))


def markdown(comparison: Comparison, changes: Sequence[Comparison] | None = None) -> str:
    """Return the same as Markdown; arguments as of `text`."""
    lines = ["### Compared on the same cases", "", _cells(_COLUMNS)]
    lines.append(_cells(["---", "---", *["---:"] * (len(_COLUMNS) - 2)]))
    lines += [_cells([code(name), *row]) for name, *row in _rows(comparison)]
    silent = [f"- not judged: {code(s.name)}: {code(s.reason)}" for s in _silent(comparison)]
    lines += ["", *silent] if silent else []
    for baseline, other, told in _pairs(comparison, changes):
        lines += ["", *_changes(baseline, other, told)]
    return "\n".join([*lines, ""])


def _pairs(
    comparison: Comparison, changes: Sequence[Comparison] | None
) -> Iterator[tuple[Side, Side, Sequence[Difference]]]:
    for each in (comparison,) if changes is None else changes:
        for position, other in enumerate(each.others):
            yield each.baseline, other, each.of(position)


def _silent(comparison: Comparison) -> list[Side]:
    return [side for side in (comparison.baseline, *comparison.others) if side.reason]


def _changes(baseline: Side, other: Side, told: Sequence[Difference]) -> list[str]:
    names = f"From {code(baseline.name)} to {code(other.name)}"
    lines = [f"{names}: {_shared(baseline, other)}; {_counts(told)}"]
    rows = [
        _cells([each.change, code(each.check), each.before, each.after])
        for each in _different(told)
    ]
    if rows:
        lines += ["", "| change | check | from | to |", "| --- | --- | --- | --- |", *rows]
    return lines


def _between(baseline: Side, other: Side) -> str:
    return f"from {baseline.name} to {other.name}: {_shared(baseline, other)}"


def _shared(baseline: Side, other: Side) -> str:
    return f"{other.shared_cases:,} of {baseline.cases:,} and {other.cases:,} cases shared"


def _different(told: Sequence[Difference]) -> list[Difference]:
    return [each for each in told if each.change != "same"]


def _line(each: Difference) -> str:
    return f"  {each.change:14} {each.check}: {each.before} -> {each.after}"


def _counts(told: Sequence[Difference]) -> str:
    counts = {change: sum(each.change == change for each in told) for change in CHANGES}
    return ", ".join(
        f"{count:,} {_counted(change, count)}"
        for change, count in counts.items()
        if count or change in _ALWAYS
    )


def _counted(change: str, count: int) -> str:
    if count != 1 and change in _PLURALS:
        return _PLURALS[change]
    return _WORDS.get(change, change)


def _rows(comparison: Comparison) -> Iterator[list[str]]:
    for side in (comparison.baseline, *comparison.others):
        other = side is not comparison.baseline
        yield [
            side.name,
            verdict_text(side.verdict),
            f"{side.checks:,}",
            f"{side.fails:,}",
            f"{side.shared_cases:,}",
            _ratio(side.worst_ratio),
            _ratio(side.baseline_worst_ratio if other else None),
            _ulps(side.median_ulps),
            _ulps(side.baseline_median_ulps if other else None),
        ]


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else ratio_text(ratio)


def _ulps(ulps: float | None) -> str:
    return "" if ulps is None else f"{ulps:.3g}"


def _cells(cells: Sequence[str]) -> str:
    # The bars of |ulps| would end a cell.
    escaped = [cell if cell.startswith("`") else cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
