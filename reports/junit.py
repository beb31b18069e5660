"""The run record as JUnit XML, which continuous integration reads. Imports no torch."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from normcheck.record import Check, Failure, Record, Verdict

__all__ = ["junit"]

# What is no character of XML 1.0, §2.2: not even an escape may stand for it.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_EXAMPLE = "The record holds no example of this failure."


def junit(record: Record) -> str:
    """Return a test case for each check; what is not judged is skipped, with its reason.

    A run that ended early, or judged nothing, has one more test case, ``run``: it is skipped, or an
    error where the run fails without a failing check, so that neither is green.
    """
    suite = ET.Element("testsuite", name=_allowed(record.target))
    properties = ET.SubElement(suite, "properties")
    for name, value in _provenance(record).items():
        ET.SubElement(properties, "property", name=name, value=_allowed(value))
    for check in record.checks:
        suite.append(_case(record, check))
    if record.incomplete or not record.checks:
        suite.append(_whole(record))
    counts = {
        "tests": len(suite.findall("testcase")),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    times = {"time": f"{record.elapsed_s:.3f}", "timestamp": _allowed(record.started_at)}
    suite.attrib |= {name: str(count) for name, count in counts.items()} | times
    suites = ET.Element("testsuites", name="normcheck")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _provenance(record: Record) -> dict[str, str]:
    return {
        "op": record.op,
        "profile": record.profile,
        "seed": str(record.seed),
        "command": record.command,
        "source": record.source,
        "normcheck": record.environment.normcheck,
        "torch": record.environment.torch,
    }


def _case(record: Record, check: Check) -> ET.Element:
    case = ET.Element("testcase", classname=_class(record), name=_allowed(check.id))
    if check.verdict is Verdict.NOT_JUDGED:
        ET.SubElement(case, "skipped", message=_allowed(check.reason or "not judged"))
    elif check.verdict is Verdict.FAIL:
        texts = [_text(failure) for failure in check.failures] or [_NO_EXAMPLE]
        first = next(iter(texts[0].splitlines()), _NO_EXAMPLE)
        failure = ET.SubElement(case, "failure", message=first, type=_allowed(check.property))
        failure.text = "\n\n".join(texts)
    return case


def _text(failure: Failure) -> str:
    return _allowed(failure.message or failure.case)


def _whole(record: Record) -> ET.Element:
    """Return the test case of a run that is not all there."""
    case = ET.Element("testcase", classname=_class(record), name="run")
    failed = any(check.verdict is Verdict.FAIL for check in record.checks)
    error = record.verdict is Verdict.FAIL and not failed
    why = _allowed(record.incomplete or "nothing was judged")
    attributes = {"message": why} | ({"type": "run"} if error else {})
    ET.SubElement(case, "error" if error else "skipped", attributes)
    return case


def _class(record: Record) -> str:
    return _allowed(f"normcheck.{record.op}" if record.op else "normcheck")


def _allowed(text: str) -> str:
    """Write what XML forbids as an escape of Python's."""
    return _FORBIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
