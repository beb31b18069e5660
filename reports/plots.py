"""Charts as SVG: real text in the page's own colours, points as a picture within it.

They need no script and follow light and dark. The same points give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normcheck.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from normcheck.reports.points import Array

__all__ = ["Canvas", "Mark", "canvas", "logarithmic", "power", "series_style", "style_of"]

# Matplotlib writes colours; these stand for the page's, which a browser fills in.
_TEXT, _LINE, _LIMIT = "#101112", "#131415", "#161718"
_PAGE = {_TEXT: "currentColor", _LINE: "var(--line)", _LIMIT: "var(--fail-edge)"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIZE = (4.7, 3.1)
_DPI = 100
_GRID = (240, 128)
_FEW = 2000


@dataclass(frozen=True, slots=True)
class Mark:
    """How a series is drawn: a colour that people with any colour vision tell apart, and a dash."""

    color: str
    dash: str


# After Okabe and Ito, "Color Universal Design", 2008; the blue is lighter, for dark pages.
_MARKS = {
    "float32": Mark("#1f83c4", "-"),
    "bfloat16": Mark("#d55e00", "--"),
    "float16": Mark("#009e73", ":"),
    "float64": Mark("#cc79a7", "-."),
}
_OTHER = Mark("#b8860b", "-")


def style_of(dtype: str) -> Mark:
    """Return how a dtype is drawn."""
    return _MARKS.get(dtype, _OTHER)


def series_style(position: int) -> Mark:
    """Return how the n-th of other series is drawn: the first in the colour of text."""
    marks = [Mark(_TEXT, ":"), *_MARKS.values(), _OTHER]
    return marks[position % len(marks)]


@dataclass(slots=True)
class Canvas:
    """A chart in the making.

    Attributes:
        figure: Of Matplotlib.
        axes: The one pair of axes.
    """

    figure: Figure
    axes: Axes

    def limit(self, words: str) -> None:
        """Draw the line above which an error is over budget."""
        self.axes.axhline(1.0, color=_LIMIT, linewidth=1.2, linestyle=(0, (6, 2)))
        self.axes.annotate(
            words, (1.0, 1.0), xycoords=("axes fraction", "data"), xytext=(-3, 3),
            textcoords="offset points", ha="right", va="bottom", color=_LIMIT, fontsize=8,
        )  # fmt: skip

    def crosses(self, x: Array, y: Array, mark: Mark) -> None:
        """Draw points that nobody may overlook."""
        self.axes.scatter(
            x,
            y,
            s=22,
            marker="x",
            c=mark.color,
            linewidths=1.4,
            rasterized=True,
            zorder=3,
            clip_on=False,
        )

    def cloud(self, x: Array, y: Array, mark: Mark) -> None:
        """Draw points faintly, as a picture of small squares: more of them in one are darker."""
        import numpy as np
        from matplotlib.colors import to_rgb
        from matplotlib.image import AxesImage

        if not len(x):
            return
        places = self.axes.transData.transform(np.column_stack([x, y]))
        columns, rows = (self.axes.transAxes.inverted().transform(places) * _GRID).astype(int).T
        counts = np.zeros(_GRID[::-1])
        # A few points are drawn larger, so that they are seen at all.
        for right, up in np.ndindex(2, 2) if len(x) < _FEW else [(0, 0)]:
            cells = (rows + up).clip(0, _GRID[1] - 1), (columns + right).clip(0, _GRID[0] - 1)
            np.add.at(counts, cells, 1)
        picture = np.zeros((*counts.shape, 4))
        picture[..., :3] = to_rgb(mark.color)
        # Four shades: a picture of few colours is small.
        picture[..., 3] = np.select([counts > 15, counts > 3, counts > 0], [0.9, 0.6, 0.35])
        image = AxesImage(self.axes, interpolation="none", origin="lower", extent=(0, 1, 0, 1))
        image.set_data(picture)
        image.set_transform(self.axes.transAxes)
        self.axes.add_artist(image)

    def levels(
        self, spans: Sequence[tuple[float, float]], y: Sequence[float], mark: Mark, label: str
    ) -> None:
        """Draw a level over each of some spans of x, with nothing between those that are apart."""
        x = [at for low, high in spans for at in (low, high, math.nan)]
        heights = [at for value in y for at in (value, value, math.nan)]
        self.axes.plot(
            x, heights, color=mark.color, linestyle=mark.dash, linewidth=2.0, label=label
        )

    def line(self, x: Sequence[float], y: Sequence[float], mark: Mark, label: str) -> None:
        """Draw a line."""
        self.axes.plot(x, y, color=mark.color, linestyle=mark.dash, linewidth=1.7, label=label)

    def stairs(self, counts: Sequence[int], edges: Sequence[float], mark: Mark, label: str) -> None:
        """Draw a histogram's outline."""
        self.axes.stairs(
            counts, edges, color=mark.color, linestyle=mark.dash, linewidth=1.6, label=label
        )

    def dot(self, x: float, y: float, mark: Mark, label: str, *, passes: bool) -> None:
        """Draw one point; what fails is a cross."""
        self.axes.plot(
            [x], [y], marker="o" if passes else "x", color=mark.color, markersize=7,
            markeredgewidth=2.0, linestyle="none", clip_on=False, label=label,
        )  # fmt: skip

    def front(self, x: Sequence[float], y: Sequence[float]) -> None:
        """Connect what nothing else beats."""
        self.axes.plot(x, y, color=_LINE, linewidth=1.5, zorder=0)

    def legend(self, columns: int = 4) -> None:
        """Name the series, where there are any."""
        if self.axes.get_legend_handles_labels()[1]:
            self.axes.legend(
                loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False,
                fontsize=8, labelcolor=_TEXT, borderaxespad=0.1, handlelength=2.2, columnspacing=1,
            )  # fmt: skip

    def plane(self) -> tuple[float, ...]:
        """Return where the axes lie in the picture, as shares of it, and their limits.

        Left, right, top and bottom, measured from the upper left corner; then the limits of x and
        of y.
        """
        box = self.axes.get_position()
        left, right, low, high = box.x0, box.x1, box.y0, box.y1
        limits = (*self.axes.get_xlim(), *self.axes.get_ylim())
        return tuple(float(f"{v:.6g}") for v in (left, right, 1 - high, 1 - low, *limits))

    def svg(self) -> str:
        """Return it as an SVG element without a size of its own."""
        target = io.StringIO()
        self.figure.savefig(
            target, format="svg", transparent=True, dpi=_DPI,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )  # fmt: skip
        text = target.getvalue()
        text = text[text.index("<svg") :]
        for written, meant in _PAGE.items():
            text = text.replace(written, meant)
        head, _, rest = text.partition(">")
        box = next(part for part in head.split("\n") if "viewBox" in part)
        view = box[box.index("viewBox=") :].split('"')[1]
        # Presentational: the page says in words what it shows.
        opening = f'<svg viewBox="{view}" aria-hidden="true" focusable="false"'
        return f"{opening}>{_without_padding(rest)}"


def _without_padding(svg: str) -> str:
    """Drop what draws nothing, a third of it: comments, metadata, ids that nothing refers to."""
    svg = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


@contextmanager
def canvas(name: str, xlabel: str, ylabel: str, bottom: float = 0.16) -> Iterator[Canvas]:
    """Make a chart.

    Args:
        name: Tells the ids in it from those of other charts of the page.
        xlabel: What lies along x.
        ylabel: What lies along y.
        bottom: Share of the picture that is left for what is written along x.

    Raises:
        UsageError: Matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "charts need matplotlib, which is not installed: pip install 'normcheck[reports]'"
        ) from None
    # Text stays text: the reader's browser draws it in a font of its own, dollars and all.
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with rc_context(settings):  # type: ignore[arg-type]
        yield _empty(Figure(figsize=_SIZE), xlabel, ylabel, bottom)


def _empty(figure: Figure, xlabel: str, ylabel: str, bottom: float) -> Canvas:
    axes = figure.add_axes((0.13, bottom, 0.845, 0.88 - bottom))
    axes.set_xlabel(xlabel, color=_TEXT, fontsize=9)
    axes.set_ylabel(ylabel, color=_TEXT, fontsize=9)
    axes.tick_params(colors=_TEXT, labelsize=8, which="both")
    axes.grid(visible=True, color=_LINE, linewidth=0.5)
    for side, spine in axes.spines.items():
        spine.set_color(_LINE)
        spine.set_visible(side in ("left", "bottom"))
    return Canvas(figure, axes)


def power(value: float, position: float) -> str:
    """Write a power of ten as plain text: Matplotlib's own formulas take ten times as long."""
    if value <= 0:
        return f"{value:g}"
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(_RAISED)}"


def logarithmic(axes: Axes, values: Iterable[float], *, along: str) -> None:
    """Scale an axis by decades around values that are positive."""
    found = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.1, 10.0)
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
    high = high if high > low else low * 10
    if along == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    axis.minorticks_off()
    axis.set_major_formatter(power)
