"""The charts of a report, each with what it shows in a sentence, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from normcheck.ratio import ratio_text
from normcheck.record import Limit
from normcheck.reports.plots import canvas, logarithmic, power, style_of
from normcheck.reports.points import Series
from normcheck.reports.reach import AXES

if TYPE_CHECKING:
    from normcheck.reports.points import Array

__all__ = ["AGAINST", "Chart", "against", "reach", "ulps"]

LOWEST, HIGHEST = 1e-3, 1e4
"""Errors over budget are drawn between these; what lies beyond is drawn at the edge."""
AGAINST = {
    "condition": "condition number κ of the slice",
    "magnitude": "root mean square of x in the slice",
    "length": "elements of the slice",
    "eps_share": "eps over the variance (or norm) of the slice",
}
_BUDGET = "error over budget"
# A constant slice has no bound: it is drawn at the edge, like all that lies beyond.
_FURTHEST = 1e12
_LARGEST = 1e300
_EDGES = (1, 2, 4, 8, 16, 64, 256, 1024, 4096)
_BINS = 24


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        name: Tells it from others on the page.
        title: What lies against what.
        finding: A sentence that says what it shows.
        svg: The picture.
        columns: Of the numbers behind it.
        rows: Those numbers, in words.
        field: What of a measurement lies along x, "" where points do not answer to the pointer.
        plane: Where the axes lie in the picture, and their limits.
    """

    name: str
    title: str
    finding: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    field: str = ""
    plane: tuple[float, ...] = ()


def against(field: str, found: Sequence[Series]) -> Chart | None:
    """Draw error over budget against what the slice of the worst element is like.

    Args:
        field: One of `AGAINST`.
        found: All measured cases; those without a positive value are passed over.
    """
    import numpy as np

    drawn = [(one, *_places(field, one)) for one in found]
    drawn = [(one, x, ratio) for one, x, ratio in drawn if len(x)]
    if not drawn:
        return None
    every, ratios = (np.concatenate([each[k] for each in drawn]) for k in (1, 2))
    lines: dict[str, dict[int, float]] = {}
    with canvas(field, AGAINST[field], _BUDGET) as chart:
        logarithmic(chart.axes, (every.min(), every.max()), along="x")
        logarithmic(chart.axes, (LOWEST, HIGHEST), along="y")
        edges = np.geomspace(*chart.axes.get_xlim(), _BINS + 1)
        for one, x, ratio in drawn:
            mark, line = style_of(one.dtype), _highest(x, ratio, edges)
            y, over = ratio.clip(LOWEST, HIGHEST), ratio > 1.0
            chart.cloud(x[~over], y[~over], mark)
            chart.crosses(x[over], y[over], mark)
            spans = [(edges[index], edges[index + 1]) for index in line]
            levels = [min(max(value, LOWEST), HIGHEST) for value in line.values()]
            chart.levels(spans, levels, mark, f"{one.dtype}, worst")
            lines[one.dtype] = line
        chart.limit("budget 1×")
        chart.legend()
        svg, plane = chart.svg(), chart.plane()
    return Chart(
        field, f"Error over budget against {AGAINST[field]}", _finding(every, ratios), svg,
        (AGAINST[field], *lines), tuple(_table(edges, lines)), field, plane,
    )  # fmt: skip


def _places(field: str, one: Series) -> tuple[Array, Array]:
    x, ratio = one.values[field], one.values["ratio"]
    kept = x > 0.0
    furthest = _LARGEST if field == "magnitude" else _FURTHEST
    return x[kept].clip(1.0 / _LARGEST, furthest), ratio[kept]


def _highest(x: Array, ratio: Array, edges: Array) -> dict[int, float]:
    """Return the worst ratio of each bin that has points."""
    import numpy as np

    worst = np.full(_BINS, -1.0)
    np.maximum.at(worst, (np.searchsorted(edges, x, "right") - 1).clip(0, _BINS - 1), ratio)
    return {index: float(value) for index, value in enumerate(worst) if value >= 0.0}


def _table(edges: Array, lines: dict[str, dict[int, float]]) -> list[tuple[str, ...]]:
    rows = []
    for index, (low, high) in enumerate(pairwise(edges)):
        cells = [ratio_text(line[index]) if index in line else "" for line in lines.values()]
        if any(cells):
            rows.append((f"{low:.3g} to {high:.3g}", *cells))
    return rows


def _finding(x: Array, ratio: Array) -> str:
    failing = x[ratio > 1.0]
    if not len(failing):
        return f"None of {len(x):,} is over budget; the worst is {ratio_text(ratio.max())}."
    low, high = f"{failing.min():.3g}", f"{failing.max():.3g}"
    where = f"from {low} to {high}" if low != high else f"at {low}"
    return f"{len(failing):,} of {len(x):,} are over budget, {where}."


def ulps(found: Sequence[Series]) -> Chart | None:
    """Draw how far, and to which side, the worst element of each case is off, in ulps."""
    import numpy as np

    forward = [(one.dtype, one.values["ulps"][one.forward]) for one in found if any(one.forward)]
    drawn = forward or [(one.dtype, one.values["ulps"]) for one in found]
    if not drawn:
        return None
    edges = [-edge for edge in reversed(_EDGES)] + list(_EDGES)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    names = [f"below {edges[0]}", *names, f"above {edges[-1]}"]
    rows, below, above, places = [], 0, 0, list(range(len(names) + 1))
    along = "signed error of the worst element of a case, in ulps"
    with canvas("ulps", along, "cases", bottom=0.28) as chart:
        for dtype, values in drawn:
            counts = np.bincount(np.searchsorted(edges, values, "right"), minlength=len(names))
            below, above = below + int((values < -1).sum()), above + int((values > 1).sum())
            chart.stairs(counts.tolist(), places, style_of(dtype), dtype)
            rows.append((dtype, *map(str, counts)))
        chart.axes.set_yscale("symlog", linthresh=1)
        chart.axes.yaxis.set_major_formatter(power)
        chart.axes.set_ylim(bottom=0)
        chart.axes.set_xticks(places[1:-1], [f"{edge:g}" for edge in edges])
        chart.axes.tick_params(axis="x", labelrotation=60)
        chart.legend()
        svg = chart.svg()
    sides = f"{below:,} cases are off by more than 1 ulp to below, {above:,} to above."
    return Chart("ulps", "Signed error in ulps", sides, svg, ("ulps", *names), tuple(rows))


def reach(limits: Sequence[Limit]) -> list[Chart]:
    """Draw how the error grows towards each limit of the operating envelope."""
    return [
        _reach(axis, [limit for limit in limits if limit.axis == axis and limit.curve])
        for axis in dict.fromkeys(limit.axis for limit in limits if limit.curve)
    ]


def _reach(axis: str, limits: Sequence[Limit]) -> Chart:
    name = AXES.get(axis, axis)
    with canvas(f"reach-{axis}", name, _BUDGET) as chart:
        logarithmic(chart.axes, [p.value for limit in limits for p in limit.curve], along="x")
        logarithmic(chart.axes, (LOWEST, HIGHEST), along="y")
        rows = []
        for limit in limits:
            curve = sorted(limit.curve, key=lambda point: point.value)
            mark = style_of(limit.dtype)
            x, y = [p.value for p in curve], [min(max(p.ratio, LOWEST), HIGHEST) for p in curve]
            chart.line(x, y, mark, limit.dtype)
            rows += [(limit.dtype, f"{p.value:.4g}", ratio_text(p.ratio)) for p in curve]
        chart.limit("budget 1×")
        chart.legend()
        svg = chart.svg()
    over = [limit for limit in limits if limit.beyond is not None]
    told = ", ".join(f"{limit.dtype} at {limit.beyond:.3g}" for limit in over)
    finding = f"Over budget: {told}." if told else "Within budget as far as it can be judged."
    return Chart(
        f"reach-{axis}", f"Error over budget against {name}", finding, svg,
        ("dtype", name, _BUDGET), tuple(rows),
    )  # fmt: skip
