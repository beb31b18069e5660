"""Charts of a bench: bandwidth against size, and accuracy against bandwidth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normcheck.bench.document import Bench, Direction, Row
from normcheck.ratio import ratio_text
from normcheck.record import Verdict
from normcheck.reports.bench import ParetoPoint, pareto
from normcheck.reports.charts import Chart
from normcheck.reports.plots import Mark, canvas, logarithmic, series_style

__all__ = ["speed_charts"]

_LOWEST, _HIGHEST = 1e-2, 1e4
_COPY = "copy"
_LETTERS = 24


def speed_charts(document: Bench) -> list[Chart]:
    """Return two charts for each format and direction."""
    names = list(dict.fromkeys(row.implementation for row in document.rows))
    marks = {name: series_style(position) for position, name in enumerate([_COPY, *names])}
    found = []
    for dtype, direction in _blocks(document):
        rows = [r for r in document.rows if (r.dtype, r.direction) == (dtype, direction)]
        rows = [row for row in rows if row.gb_per_s is not None]
        if rows:
            found.append(_against_size(document, f"{dtype} {direction}", rows, marks))
            points = [p for p in pareto(document) if (p.dtype, p.direction) == (dtype, direction)]
            found.append(_accuracy(f"{dtype} {direction}", points, marks))
    return found


def _blocks(document: Bench) -> Iterator[tuple[str, Direction]]:
    yield from dict.fromkeys((row.dtype, row.direction) for row in document.rows)


def _against_size(
    document: Bench, block: str, rows: Sequence[Row], marks: dict[str, Mark]
) -> Chart:
    sizes = sorted({row.size for row in rows})
    speeds = {
        name: {row.size: row.gb_per_s or 0.0 for row in rows if row.implementation == name}
        for name in dict.fromkeys(row.implementation for row in rows)
    }
    copies = {row.size: document.copy_of(row.bytes).gb_per_s for row in rows}
    failing = {row.implementation for row in rows if not row.is_ranked}
    with canvas(f"speed-{block}", "elements along the last dimension", "GB/s") as chart:
        for name, own in [(_COPY, copies), *speeds.items()]:
            shown = _short(name, passes=name not in failing)
            chart.line(sorted(own), [own[size] for size in sorted(own)], marks[name], shown)
        logarithmic(chart.axes, sizes, along="x")
        chart.axes.set_xlim(sizes[0] * 0.9, sizes[-1] * 1.1)
        chart.axes.set_xticks(sizes, list(map(str, sizes)))
        every = [speed for own in (copies, *speeds.values()) for speed in own.values()]
        logarithmic(chart.axes, every, along="y")
        chart.legend(columns=2)
        svg = chart.svg()
    largest = sizes[-1]
    best = {n: own[largest] for n, own in speeds.items() if n not in failing and largest in own}
    finding = "Nothing that passes was timed."
    if best:
        first = max(best, key=lambda name: best[name])
        share = 100 * best[first] / copies[largest]
        finding = f"At {largest}, {first} is the fastest that passes: {share:.0f} % of a copy."
    table = [
        (
            str(size),
            *(f"{own[size]:.3g}" if size in own else "-" for own in (copies, *speeds.values())),
        )
        for size in sizes
    ]
    return Chart(
        f"speed-{block}", f"Bandwidth, {block}", finding, svg,
        ("size", "copy, GB/s", *speeds), tuple(table),
    )  # fmt: skip


def _short(name: str, *, passes: bool) -> str:
    """Shorten a name so that two fit beside each other; the table has it whole."""
    shown = name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
    return shown if passes else f"{shown} (fails)"


def _accuracy(block: str, points: Sequence[ParetoPoint], marks: dict[str, Mark]) -> Chart:
    front = sorted((p for p in points if p.on_front), key=lambda point: point.gb_per_s)
    with canvas(f"pareto-{block}", "GB/s at the largest size", "worst error over budget") as chart:
        for point in points:
            y = min(max(point.worst_ratio, _LOWEST), _HIGHEST)
            passes = point.verdict is Verdict.PASS
            name = point.implementation
            chart.dot(point.gb_per_s, y, marks[name], _short(name, passes=passes), passes=passes)
        heights = [min(max(p.worst_ratio, _LOWEST), _HIGHEST) for p in front]
        chart.front([point.gb_per_s for point in front], heights)
        logarithmic(chart.axes, (_LOWEST, _HIGHEST), along="y")
        chart.axes.set_xlim(0, 1.15 * max((p.gb_per_s for p in points), default=1.0))
        chart.limit("budget 1×")
        chart.legend(columns=2)
        svg = chart.svg()
    told = ", ".join(point.implementation for point in front)
    rows = tuple(
        (p.implementation, str(p.verdict), f"{p.gb_per_s:.3g}", ratio_text(p.worst_ratio),
         "yes" if p.on_front else "no")
        for p in points
    )  # fmt: skip
    return Chart(
        f"pareto-{block}", f"Accuracy against speed, {block}",
        f"Nothing that passes is better in both than {told}." if told else "Nothing passes.",
        svg, ("implementation", "verdict", "GB/s", "worst error", "on the front"), rows,
    )  # fmt: skip
