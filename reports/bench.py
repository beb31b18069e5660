"""A bench as text, as a table, and as points of accuracy against speed. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from normcheck.bench.document import Bench, Direction, Judgement, Row
from normcheck.ratio import ratio_text
from normcheck.record import Verdict
from normcheck.reports.text import verdict_text

__all__ = ["ParetoPoint", "TableRow", "lines", "pareto", "table"]

_NOTHING = "-"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of the document, in words.

    Attributes:
        row: The row itself.
        times_best: Its median over the smallest of those that are ranked beside it; None where it
            is not ranked.
    """

    row: Row
    times_best: float | None

    @property
    def verdict(self) -> str:
        """Glyph and word."""
        return verdict_text(self.row.verdict)

    @property
    def ratio(self) -> str:
        """Worst error over budget; a failure may have none that is measured."""
        return _ratio(self.row.verdict, self.row.worst_ratio)

    @property
    def shape(self) -> str:
        """Shape of ``x``."""
        return "x".join(map(str, self.row.shape))

    @property
    def time(self) -> str:
        """Median time."""
        return _time(self.row.median_s)

    @property
    def iqr(self) -> str:
        """Distance of the quartiles."""
        return _time(self.row.iqr_s)

    @property
    def best(self) -> str:
        """How many times the best."""
        return _NOTHING if self.times_best is None else f"{self.times_best:.2f}"

    @property
    def speed(self) -> str:
        """Bytes per second."""
        speed = self.row.gb_per_s
        return _NOTHING if speed is None else f"{_digits(speed)} GB/s"

    @property
    def share(self) -> str:
        """Share of what a copy of as many bytes moves in a second."""
        share = self.row.share_of_copy
        return _NOTHING if share is None else f"{_digits(100 * share, 2)} %"

    @property
    def memory(self) -> str:
        """Most bytes allocated at once by a forward and a backward call."""
        size = self.row.memory_bytes
        return _NOTHING if size is None else f"{_digits(size / 1e6)} MB"

    @property
    def remark(self) -> str:
        """Why its time is to be doubted, or not to be compared."""
        suspect = "suspect: faster than a copy of as many bytes" if self.row.suspect else ""
        return "; ".join(filter(None, [suspect, self.row.reason]))


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """One implementation at the largest size, in one format and direction.

    Attributes:
        seconds: Median.
        worst_ratio: Largest error over budget in that format.
        verdict: Only what passes is on a front.
        on_front: Whether none that passes is as fast and as accurate, and better in one of both.
    """

    implementation: str
    dtype: str
    direction: Direction
    shape: tuple[int, ...]
    seconds: float
    gb_per_s: float
    worst_ratio: float
    verdict: Verdict
    on_front: bool


def table(document: Bench) -> list[TableRow]:
    """Return every row with its place among those of its format, direction and size."""
    best: dict[tuple[str, Direction, int], float] = {}
    for row in document.rows:
        if row.is_ranked and row.median_s is not None:
            key = (row.dtype, row.direction, row.size)
            best[key] = min(best.get(key, row.median_s), row.median_s)
    return [
        TableRow(
            row,
            row.median_s / best[row.dtype, row.direction, row.size]
            if row.is_ranked and row.median_s is not None
            else None,
        )
        for row in document.rows
    ]


def pareto(document: Bench) -> list[ParetoPoint]:
    """Return what was timed at the largest size; each format and direction has a front."""
    largest = max((row.size for row in document.rows), default=0)
    rows = [row for row in document.rows if row.size == largest]
    return [
        ParetoPoint(
            row.implementation, row.dtype, row.direction, tuple(row.shape), row.median_s,
            row.gb_per_s, row.worst_ratio, row.verdict,
            row.is_ranked and not any(_is_better(other, row) for other in rows),
        )
        for row in rows
        if row.median_s is not None and row.gb_per_s is not None
    ]  # fmt: skip


def _is_better(one: Row, other: Row) -> bool:
    """Whether one is as fast and as accurate as the other, and better in one of both."""
    if not one.is_ranked or (one.dtype, one.direction) != (other.dtype, other.direction):
        return False
    mine = (one.median_s or 0.0, one.worst_ratio)
    its = (other.median_s or 0.0, other.worst_ratio)
    return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))


def lines(document: Bench) -> list[str]:
    """Return the bench as text: verdicts, then a table for each format and direction."""
    where = document.environment
    found = [
        f"{document.op} on {document.device}, threads: {where.threads}, torch {where.torch}",
        f"medians of {document.clock}",
        "",
        *_aligned([_verdict(each) for each in document.judgements], indent=""),
    ]
    rows = table(document)
    for dtype in dict.fromkeys(row.dtype for row in document.rows):
        for direction in Direction:
            chosen = [each for each in rows if (each.row.dtype, each.row.direction) == (
                dtype, direction,
            )]  # fmt: skip
            if chosen:
                found += ["", *_block(document, f"{dtype} {direction}", chosen)]
        found += _memory(dtype, [each for each in rows if each.row.dtype == dtype])
    found += ["", "in brackets: times the fastest that passes; %: of a copy of as many bytes"]
    found += [*_remarks(rows), *document.notes]
    if document.command:
        found += ["", f"repeat  {document.command}"]
    return [_printable(line) for line in found]


def _verdict(each: Judgement) -> list[str]:
    why = [f"fails {', '.join(each.failing)}" if each.failing else "", each.reason]
    return [
        verdict_text(each.verdict), _ratio(each.verdict, each.worst_ratio), each.dtype,
        each.implementation, "; ".join(filter(None, why)),
    ]  # fmt: skip


def _block(document: Bench, title: str, rows: Sequence[TableRow]) -> list[str]:
    """Return one table: implementations down, sizes across."""
    copies = {each.shape: document.copy_of(each.row.bytes) for each in rows}
    told = [[title, *copies], [
        "copy", *(f"{_time(copy.median_s)}  {_digits(copy.gb_per_s)} GB/s"
                  for copy in copies.values()),
    ]]  # fmt: skip
    return _aligned([*told, *_by_implementation(rows, _cell)])


def _memory(dtype: str, rows: Sequence[TableRow]) -> list[str]:
    forward = [each for each in rows if each.row.direction is Direction.FORWARD]
    if all(each.row.memory_bytes is None for each in forward):
        return []
    title = [f"{dtype} memory of both", *dict.fromkeys(each.shape for each in forward)]
    told = _by_implementation(forward, lambda each: each.memory)
    return ["", *_aligned([title, *told])]


def _by_implementation(
    rows: Sequence[TableRow], cell: Callable[[TableRow], str]
) -> Iterator[list[str]]:
    for name in dict.fromkeys(each.row.implementation for each in rows):
        yield [name, *(cell(each) for each in rows if each.row.implementation == name)]


def _cell(each: TableRow) -> str:
    if each.row.median_s is None:
        return _NOTHING
    if each.times_best is None:
        return f"{each.time}  not comparable"
    doubt = "  suspect" if each.row.suspect else ""
    return f"{each.time} ({each.best})  {each.share}{doubt}"


def _remarks(rows: Iterable[TableRow]) -> list[str]:
    """Return each remark once, with who it is about."""
    about: dict[str, list[str]] = {}
    for each in rows:
        # Why a time is not comparable stands beside the verdict.
        if each.row.suspect or each.row.median_s is None:
            who = about.setdefault(each.remark, [])
            who += [text for text in [_who(each)] if text not in who]
    return [f"{', '.join(who)}: {remark}" for remark, who in about.items()]


def _who(each: TableRow) -> str:
    return f"{each.row.implementation} in {each.row.dtype}"


def _aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Set columns flush; all rows but the first are indented."""
    told = [[text if i == 0 or n else indent + text for n, text in enumerate(row)]
            for i, row in enumerate(rows)]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    return [
        "   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in told
    ]


def _ratio(verdict: Verdict, ratio: float) -> str:
    if verdict is Verdict.NOT_JUDGED:
        return "?"
    return "fail" if verdict is Verdict.FAIL and ratio <= 1 else ratio_text(ratio)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{_digits(seconds / size)} {unit}"


def _digits(value: float, significant: int = 3) -> str:
    """Return a number with that many digits, never as a power of ten."""
    if value >= 10**significant:
        return f"{value:,.0f}"
    # What "#" keeps: zeros that are significant, and a point without digits behind it.
    return f"{value:#.{significant}g}".rstrip(".")


def _printable(text: str) -> str:
    """Show what would steer a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
