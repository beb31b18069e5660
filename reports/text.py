"""The run record as plain text: the terminal's last words, and a Markdown table.

Nothing is computed here that the record does not say; the HTML report words its numbers with the
same functions.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from normcheck.ratio import ratio_text
from normcheck.record import Check, Failure, Record, Verdict
from normcheck.reports.reach import envelope_lines, power_lines

__all__ = [
    "RootCause",
    "Rounding",
    "cause_text",
    "check_ratio_text",
    "code",
    "markdown",
    "printable",
    "root_causes",
    "roundings",
    "summary",
    "table",
    "verdict_text",
]

_WIDTH = 100
_MOST_NAMED = 4
_NO_EXAMPLE = "The record holds no example of this failure."
_VERDICTS = {Verdict.PASS: "✓ PASS", Verdict.FAIL: "✗ FAIL", Verdict.NOT_JUDGED: "? NOT JUDGED"}
# Control characters and changes of writing direction: text of a target must not steer a terminal.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class RootCause:
    """Failing checks whose first failure is the same case.

    Attributes:
        lead: The check to look at first: a wrong output, then the largest ratio.
        also: The other checks, in the same order.
    """

    lead: Check
    also: tuple[Check, ...]

    @property
    def failure(self) -> Failure | None:
        """First failure of the lead; None if the record holds none."""
        return next(iter(self.lead.failures), None)


@dataclass(frozen=True, slots=True)
class Rounding:
    """The rounding policies that explain one tensor, and the properties that agree on them."""

    dtype: str
    tensor: str
    policies: tuple[str, ...]
    properties: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(self.policies) or "no known policy explains all cases"


def check_ratio_text(check: Check) -> str:
    """Return the worst ratio of a check; "?" if not judged, "fail" if a failure has no ratio."""
    if check.verdict is Verdict.NOT_JUDGED:
        return "?"
    # A check can fail by what no budget measures: a wrong shape, a dead process, an overwritten x.
    if check.verdict is Verdict.FAIL and not check.worst_ratio > 1:
        return "fail"
    return ratio_text(check.worst_ratio)


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict as glyph and words."""
    return _VERDICTS[verdict]


def _urgency(check: Check) -> tuple[bool, float, bool]:
    """A wrong output explains wrong gradients, not the other way round: it goes first.

    Ratios are capped, so that ties are common: an explained failure goes before an unexplained.
    """
    forward = check.property == "forward_accuracy"
    return not forward, -check.worst_ratio, not any(f.likely for f in check.failures)


def root_causes(record: Record) -> list[RootCause]:
    """Group the failing checks by their first failing case, the most telling first."""
    failing = [check for check in record.checks if check.verdict is Verdict.FAIL]
    failing.sort(key=_urgency)
    groups: dict[str, list[Check]] = {}
    for check in failing:
        key = check.failures[0].case if check.failures else check.id
        groups.setdefault(key, []).append(check)
    return [RootCause(lead, tuple(also)) for lead, *also in groups.values()]


def roundings(record: Record) -> list[Rounding]:
    """Return the rounding policies found, once for each dtype, tensor and set of policies."""
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for check in record.checks:
        for tensor, policies in check.rounding.items():
            properties = found.setdefault((check.dtype, tensor, tuple(policies)), [])
            if check.property not in properties:
                properties.append(check.property)
    return [Rounding(*key, tuple(properties)) for key, properties in found.items()]


def summary(record: Record) -> str:
    """Return the final summary of a terminal, without a newline at its end."""
    paragraphs = [
        _headline(record),
        _dtype_lines(record),
        *(_root_cause(cause) for cause in root_causes(record)),
        _titled("what this run would have caught", power_lines(record)),
        _titled("operating envelope", envelope_lines(record)),
        _titled("what was not checked", _not_checked(record)),
        _titled("rounding policies found", map(_rounding_line, roundings(record))),
        f"seed    {record.seed}\nrepeat  {record.command}",
    ]
    return printable("\n\n".join(paragraph for paragraph in paragraphs if paragraph))


def markdown(record: Record) -> str:
    """Return a Markdown table of all checks, the failing ones first."""
    order = (Verdict.FAIL, Verdict.NOT_JUDGED, Verdict.PASS)
    lines = [
        f"### {verdict_text(record.verdict)} · {code(record.target)}",
        "",
        "| check | verdict | cases | worst ratio | case |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for check in sorted(record.checks, key=lambda check: order.index(check.verdict)):
        case = check.failures[0].case if check.failures else check.worst_case
        lines.append(
            f"| {code(check.id)} | {verdict_text(check.verdict)} | {check.cases:,} "
            f"| {check_ratio_text(check)} | {code(case)} |"
        )
    lines += [line for text in power_lines(record)[:1] for line in ("", printable(text))]
    if record.incomplete:
        lines += ["", f"INCOMPLETE: {code(record.incomplete)}"]
    return "\n".join([*lines, "", f"Repeat with {code(record.command)}", ""])


def _headline(record: Record) -> str:
    lines = [
        f"{verdict_text(record.verdict)}  {record.target}  ({record.op})",
        f"{record.count(Verdict.FAIL):,} of {len(record.checks):,} checks fail, "
        f"{record.count(Verdict.NOT_JUDGED):,} not judged; "
        f"{record.cases_judged:,} cases judged in {record.elapsed_s:.1f} s",
    ]
    if record.incomplete:
        lines.append(f"INCOMPLETE: {record.incomplete}")
    return "\n".join(lines)


def _dtype_lines(record: Record) -> str:
    dtypes = list(dict.fromkeys(check.dtype for check in record.checks))
    width = max(map(len, dtypes), default=0)
    return "\n".join(
        _dtype_line(dtype.ljust(width), [check for check in record.checks if check.dtype == dtype])
        for dtype in dtypes
    )


def _dtype_line(dtype: str, checks: list[Check]) -> str:
    passed, failed, not_judged = (sum(check.verdict is v for check in checks) for v in Verdict)
    judged = [check for check in checks if check.verdict is not Verdict.NOT_JUDGED]
    worst = max(judged, key=lambda check: check.worst_ratio, default=None)
    worst_text = f"{check_ratio_text(worst)} {worst.property}" if worst else "?"
    return (
        f"  {dtype}  {passed:3} pass {failed:3} fail {not_judged:3} not judged   worst {worst_text}"
    )


def _root_cause(cause: RootCause) -> str:
    check, failure = cause.lead, cause.failure
    lines = [f"✗ {check.id}  {check_ratio_text(check)}"]
    if failure is None:
        return "\n".join([*lines, f"    {_NO_EXAMPLE}"])
    lines += [f"    case  {failure.case}", textwrap.indent(failure.message, "    ")]
    if cause.also:
        also = [f"{other.id} ({check_ratio_text(other)})" for other in cause.also]
        lines.append(_listed("    the same case also fails: ", also))
    if check.failing_cases > 1:
        lines.append(f"    fails in {check.failing_cases:,} of {check.cases:,} cases")
    return "\n".join(lines)


def cause_text(cause: RootCause) -> str:
    """Return fewer than twenty lines: the lead check's failure, and the others in a line."""
    check, failure = cause.lead, cause.failure
    if failure is None:
        return _NO_EXAMPLE
    beside = []
    if check.failing_cases > 1:
        beside.append(f"fails in {check.failing_cases:,} of {check.cases:,} cases")
    if cause.also:
        also = [f"{each.property} ({check_ratio_text(each)})" for each in cause.also[:_MOST_NAMED]]
        more = len(cause.also) - len(also)
        also += [f"{more} more"] if more else []
        beside.append(f"the same case also fails {', '.join(also)}")
    return "\n".join([failure.message, *filter(None, ["; ".join(beside)])])


def _not_checked(record: Record) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for check in record.checks:
        if check.verdict is Verdict.NOT_JUDGED:
            reasons.setdefault(check.reason or "no reason given", []).append(check.id)
    weak = [f"{c.id} ({c.without_power:,})" for c in record.checks if c.without_power]
    lines = [_listed(f"? {reason}: ", ids) for reason, ids in reasons.items()]
    lines += [
        f"{refusal.dtype}: the target refused {refusal.cases:,} cases, such as {refusal.example}\n"
        + textwrap.indent(refusal.message, "  ")
        for refusal in record.unsupported
    ]
    lines += record.notes
    if weak:
        lines.append(_listed("cases whose budget cannot tell right from wrong: ", weak))
    return lines


def _rounding_line(rounding: Rounding) -> str:
    return f"{rounding.dtype} {rounding.tensor}: {rounding}  (by {', '.join(rounding.properties)})"


def _titled(title: str, items: Iterable[str]) -> str:
    lines = [textwrap.indent(item, "  ") for item in items]
    return "\n".join([title, *lines]) if lines else ""


def _listed(label: str, items: list[str]) -> str:
    # Ids are copied with a double click, so that a line may break between them but not in them.
    return textwrap.fill(
        label + ", ".join(items),
        _WIDTH,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
        break_long_words=False,
    )


def table(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Return rows of equal lengths in aligned columns, to the right but for those of ``left``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position in left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def printable(text: str) -> str:
    """Return a text with escapes for what would steer a terminal."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def code(text: str) -> str:
    """Return a text as code of Markdown, in one line that also fits in a cell."""
    # A backtick would end the code span, a line break the row; a bar ends a cell even in code.
    plain = printable(" ".join(text.split())).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain else ""
