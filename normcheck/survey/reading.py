"""From the record of one run to its entry in a survey."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from normcheck.record import Check, Record, Verdict
from normcheck.survey.confirmed import Question, finding_of
from normcheck.survey.document import Cell, Fault, Status

__all__ = ["cells_of", "status_of"]


def status_of(record: Record) -> tuple[Status, str]:
    """Return what became of a run that left a record, and why it was not judged."""
    if any(check.verdict is not Verdict.NOT_JUDGED for check in record.checks):
        return Status.JUDGED, record.incomplete
    refusals = [entry.message for entry in record.unsupported]
    why = record.incomplete or next(iter(refusals), "") or "no case applies"
    if record.verdict is Verdict.FAIL:
        return Status.DIED, why
    return Status.REFUSED, why


def cells_of(
    record: Record, subject: str, arguments: list[str], versions: Mapping[str, str]
) -> list[Cell]:
    """Return one cell per format of a record.

    Args:
        record: Of one run.
        subject: Id of the implementation.
        arguments: Command-line words that name and declare it.
        versions: Installed versions by distribution.
    """
    refusals = {entry.dtype: entry.message for entry in record.unsupported}
    cells = []
    for dtype in dict.fromkeys(check.dtype for check in record.checks):
        checks = [check for check in record.checks if check.dtype == dtype]
        judged = [check for check in checks if check.verdict is not Verdict.NOT_JUDGED]
        failing = [check for check in judged if check.verdict is Verdict.FAIL]
        refusal = refusals.get(dtype, "")
        cells.append(
            Cell(
                dtype=dtype,
                verdict=_verdict(judged, failing),
                worst_ratio=max((check.worst_ratio for check in judged), default=0.0),
                checks=len(judged),
                faults=[_fault(check, subject, arguments, versions) for check in failing],
                not_judged={
                    check.property: check.reason or refusal or "no case applies"
                    for check in checks
                    if check.verdict is Verdict.NOT_JUDGED
                },
            )
        )
    return cells


def _verdict(judged: list[Check], failing: list[Check]) -> Verdict:
    if not judged:
        return Verdict.NOT_JUDGED
    return Verdict.FAIL if failing else Verdict.PASS


def _fault(check: Check, subject: str, arguments: list[str], versions: Mapping[str, str]) -> Fault:
    first = next(iter(check.failures), None)
    case = first.case if first else check.worst_case
    tensor = first.tensor if first else ""
    words = ["normcheck", "repro", arguments[0], case, *arguments[1:]]
    return Fault(
        property=check.property,
        tensor=tensor,
        ratio=check.worst_ratio,
        cases=check.cases,
        failing_cases=check.failing_cases,
        case=case,
        likely=first.likely if first else "",
        message=_telling_line(first.message) if first else "",
        reproduce=shlex.join([*words, "--property", check.property]),
        finding=finding_of(Question(subject, check.dtype, check.property, tensor, versions)),
    )


def _telling_line(message: str) -> str:
    """Return the line of a failure's message that says what is wrong, without its label."""
    lines = [line.strip() for line in message.splitlines()]
    for label in ("wrong", "got"):
        for line in lines:
            if line.startswith(f"{label} "):
                return line.removeprefix(label).strip()
    return next(iter(lines), "")
