"""A survey as pages: Markdown, and one HTML file without scripts or requests. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normcheck.config import DTYPES
from normcheck.errors import UsageError
from normcheck.ratio import ratio_text
from normcheck.record import Verdict
from normcheck.reports.text import verdict_text
from normcheck.survey.document import Cell, Entry, Fault, Status, Survey

__all__ = ["Group", "cell_text", "groups", "html", "markdown"]

_TEMPLATES = Path(__file__).parent / "templates"
_GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.NOT_JUDGED: "?"}
_FINDINGS = "findings.md"


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one implementation that share a property, a tensor and a cause.

    Attributes:
        worst: The one of the largest ratio.
        dtypes: Formats, in order.
    """

    worst: Fault
    dtypes: tuple[str, ...]

    @property
    def cause(self) -> str:
        """The confirmed cause, or the likely one, said to be no more."""
        if self.worst.finding:
            return self.worst.finding
        return f"not confirmed; likely: {self.worst.likely}" if self.worst.likely else (
            "not confirmed"
        )  # fmt: skip


def groups(entry: Entry) -> list[Group]:
    """Return the failures of an entry, the largest ratio first."""
    found: dict[tuple[str, str, str, str], list[tuple[str, Fault]]] = {}
    for cell in entry.cells:
        for fault in cell.faults:
            key = (
                fault.property,
                fault.tensor,
                fault.finding,
                "" if fault.finding else fault.likely,
            )
            found.setdefault(key, []).append((cell.dtype, fault))
    made = [
        Group(max((f for _, f in faults), key=lambda f: f.ratio), tuple(d for d, _ in faults))
        for faults in found.values()
    ]
    return sorted(made, key=lambda group: -group.worst.ratio)


def cell_text(cell: Cell | None) -> str:
    """Return glyph and worst ratio of one format; empty where it is not offered."""
    if cell is None:
        return ""
    if cell.verdict is Verdict.NOT_JUDGED:
        return "?"
    # A failure that no budget measures, as a wrong shape, has no ratio above 1.
    ratio = "" if cell.faults and cell.worst_ratio <= 1 else f" {ratio_text(cell.worst_ratio)}"
    return f"{_GLYPHS[cell.verdict]}{ratio}"


def dtypes(survey: Survey) -> list[str]:
    """Return every format that was judged, the narrowest first."""
    found = dict.fromkeys(cell.dtype for entry in survey.entries for cell in entry.cells)
    return [dtype for dtype in DTYPES if dtype in found] + [d for d in found if d not in DTYPES]


def libraries(survey: Survey) -> dict[str, list[Entry]]:
    """Return the entries of each library."""
    found: dict[str, list[Entry]] = {}
    for entry in survey.entries:
        found.setdefault(entry.library, []).append(entry)
    return found


def headline(survey: Survey) -> str:
    """Return the survey in one sentence."""
    judged = [entry for entry in survey.entries if entry.status is Status.JUDGED]
    fail = sum(entry.verdict is Verdict.FAIL for entry in survey.entries)
    known = sum(
        entry.verdict is Verdict.FAIL and all(group.worst.finding for group in groups(entry))
        for entry in judged
    )
    passed = survey.count(Verdict.PASS)
    return (
        f"{len(judged)} of {len(survey.entries)} implementations judged: {passed} pass in every "
        f"format, {fail} fail, {known} of them only for causes that are confirmed."
    )


def versions(entries: list[Entry]) -> str:
    """Return the versions of a library and of what it stands on."""
    found = {name: number for entry in entries for name, number in entry.versions.items()}
    return ", ".join(f"{name} {number}" for name, number in found.items())


def cells(entry: Entry, columns: list[str]) -> list[Cell | None]:
    """Return the cells of an entry in the order of the columns."""
    return [next((c for c in entry.cells if c.dtype == d), None) for d in columns]


def unjudged(entry: Entry) -> dict[str, list[str]]:
    """Return what was not judged of a judged entry: reason to ``dtype property``."""
    found: dict[str, list[str]] = {}
    for cell in entry.cells:
        for name, reason in cell.not_judged.items():
            found.setdefault(" ".join(reason.split()), []).append(f"{cell.dtype} {name}")
    return found


def markdown(survey: Survey) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Survey",
        "",
        headline(survey),
        "",
        f"Taken {survey.started_at[:10]} with normcheck {survey.normcheck}, profile "
        f"`{survey.profile}`, Python {survey.python}, {survey.platform}, device "
        f"`{survey.device}`, in {survey.elapsed_s:.0f} s:",
        "",
        "```",
        survey.command,
        "```",
        "",
        *_legend(),
        "",
        *_table(survey),
        "",
        "## Failures",
        "",
    ]
    for name, entries in libraries(survey).items():
        lines += _failures(name, entries)
    lines += ["## Not judged", "", *_not_judged(survey), ""]
    lines += ["## Versions and commands", "", *_commands(survey), ""]
    return "\n".join(lines)


def _legend() -> list[str]:
    return [
        "A number is the worst error over its budget: above 1 fails (`✗`). `?` was not judged. A "
        f"failure with a link has a cause that a script confirms without normcheck ([findings]"
        f"({_FINDINGS})). Where it says *not confirmed*, nobody has looked into it, and nothing is "
        "claimed; a likely cause is one that explains the numbers.",
    ]


def _table(survey: Survey) -> Iterator[str]:
    columns = dtypes(survey)
    yield f"| implementation | op | {' | '.join(columns)} | what fails | s |"
    yield f"| --- | --- | {'--- | ' * len(columns)}--- | ---: |"
    for name, entries in libraries(survey).items():
        for entry in entries:
            marks = " | ".join(cell_text(cell) for cell in cells(entry, columns))
            what = _what_fails(entry)
            time = f"{entry.elapsed_s:.0f}" if entry.elapsed_s else ""
            yield f"| {name} `{entry.name}` | {entry.op} | {marks} | {what} | {time} |"


def _what_fails(entry: Entry) -> str:
    if entry.status is not Status.JUDGED:
        return _plain(str(entry.status))
    told: dict[str, list[str]] = {}
    for group in groups(entry):
        tensor = group.worst.tensor or group.worst.property
        told.setdefault(_cause(group), []).append(tensor)
    parts = [f"{', '.join(dict.fromkeys(names))}: {cause}" for cause, names in told.items()]
    return "; ".join(parts)


def _cause(group: Group) -> str:
    if not group.worst.finding:
        return "not confirmed"
    return f"[{group.worst.finding}]({_FINDINGS}#{anchor(group.worst.finding)})"


def anchor(heading: str) -> str:
    """Return what a Markdown heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _failures(name: str, entries: list[Entry]) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        found = groups(entry)
        if not found:
            continue
        lines += [f"### {name} `{entry.name}`", ""]
        for group in found:
            fault = group.worst
            cause = _cause(group) if fault.finding else group.cause
            ratio = f" {ratio_text(fault.ratio)}" if fault.ratio > 1 else ""
            lines += [
                f"- **{fault.property}**{f' of {fault.tensor}' if fault.tensor else ''}, "
                f"{', '.join(group.dtypes)}:{ratio} in {fault.failing_cases} of {fault.cases} "
                f"cases. {_plain(cause)}.",
                f"  Smallest case: {_plain(fault.message)}",
                f"  `{fault.reproduce}`",
            ]
        lines.append("")
    return lines


def _not_judged(survey: Survey) -> list[str]:
    lines = []
    for entry in survey.entries:
        label = f"{entry.library} `{entry.name}`"
        if entry.status is not Status.JUDGED:
            reason = entry.reason if entry.reason.startswith(entry.status) else (
                f"{entry.status}: {entry.reason}"
            )  # fmt: skip
            lines.append(f"- {label}: {_plain(reason)}")
        elif entry.reason:
            lines.append(f"- {label} is incomplete: {_plain(entry.reason)}")
        for reason, what in unjudged(entry).items():
            lines.append(f"- {label}, {', '.join(what)}: {_plain(reason)}")
    return lines or ["Everything was judged."]


def _commands(survey: Survey) -> list[str]:
    lines = []
    for name, entries in libraries(survey).items():
        lines += [f"{name}: {versions(entries) or 'not installed'}", "", "```"]
        lines += [entry.command for entry in entries]
        lines += ["```", ""]
        lines += [f"- `{entry.name}`: {_plain(entry.note)}" for entry in entries if entry.note]
        lines += [""] if any(entry.note for entry in entries) else []
    return lines


def _plain(text: str) -> str:
    """Return text that ends no table row and starts no markup."""
    flat = " ".join(text.split())
    return flat if "](" in flat else re.sub(r"([|<>*_])", r"\\\1", flat)


def html(survey: Survey) -> str:
    """Return the page as HTML; the same survey gives the same text.

    Raises:
        UsageError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise UsageError(
            "the HTML page needs jinja2, which is not installed: pip install 'normcheck[reports]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = {"ratio": ratio_text, "mark": cell_text, "verdict": verdict_text}
    environment.filters |= filters
    columns = dtypes(survey)
    return environment.get_template("survey.html.j2").render(
        survey=survey, headline=headline(survey), libraries=libraries(survey), columns=columns,
        cells=lambda entry: cells(entry, columns), groups=groups, unjudged=unjudged,
        versions=versions, Status=Status, Verdict=Verdict,
    )  # fmt: skip
