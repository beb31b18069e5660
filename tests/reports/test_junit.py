from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from normcheck.cli import main
from normcheck.record import INTERRUPTED, Record, Verdict
from normcheck.reports.junit import junit

from .conftest import MESSAGE, failing


def suite(record: Record) -> ET.Element:
    found = ET.fromstring(junit(record)).find("testsuite")
    assert found is not None
    return found


def test_every_check_is_a_test_case_that_failed_was_skipped_or_passed(record: Record) -> None:
    cases = {case.get("name"): [part.tag for part in case] for case in suite(record)[1:]}
    outcomes = {Verdict.PASS: [], Verdict.FAIL: ["failure"], Verdict.NOT_JUDGED: ["skipped"]}
    assert cases == {check.id: outcomes[check.verdict] for check in record.checks}


def test_the_suite_counts_its_cases(record: Record) -> None:
    counts = {name: suite(record).get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "3", "errors": "0", "skipped": "1"}
    assert suite(record).get("name") == "mykernels:rms_norm"
    assert suite(record).get("time") == "41.250"
    assert suite(record).get("timestamp") == "2026-11-21T02:05:00Z"


def test_a_failure_holds_every_message_and_names_its_property(record: Record) -> None:
    found = suite(record).find("testcase[@name='rms_norm-bfloat16-cpu-accuracy']/failure")
    assert found is not None
    assert found.text == f"{MESSAGE}\n\nthe second failure"
    assert found.get("message") == MESSAGE.splitlines()[0]
    assert found.get("type") == "accuracy"


def test_what_is_not_judged_is_skipped_with_its_reason(record: Record) -> None:
    found = suite(record).find("testcase[@name='rms_norm-float16-cpu-gradient']/skipped")
    assert found is not None
    assert found.get("message") == "no backward"


def test_a_failure_without_an_example_is_told(record: Record) -> None:
    check = failing("float32", "accuracy", 31.0, "case").model_copy(update={"failures": []})
    found = suite(record.model_copy(update={"checks": [check]})).find("testcase/failure")
    assert found is not None
    assert found.text == found.get("message") == "The record holds no example of this failure."


def test_the_command_that_repeats_the_run_is_a_property(record: Record) -> None:
    found = {p.get("name"): p.get("value") for p in suite(record).iter("property")}
    assert found["command"] == record.command
    assert (found["seed"], found["normcheck"]) == ("20261121", "0.1.0")


@pytest.mark.parametrize(
    ("verdict", "checks", "incomplete", "tag", "message"),
    [
        (Verdict.NOT_JUDGED, True, INTERRUPTED, "skipped", "interrupted"),
        (Verdict.FAIL, False, "t ended the process", "error", "t ended the process"),
        (Verdict.NOT_JUDGED, False, "", "skipped", "nothing was judged"),
    ],
)
def test_a_run_that_is_not_all_there_is_not_green(
    passing: Record, verdict: Verdict, checks: bool, incomplete: str, tag: str, message: str
) -> None:
    update = {"verdict": verdict, "incomplete": incomplete}
    record = passing.model_copy(update=update | ({} if checks else {"checks": []}))
    found = suite(record).find(f"testcase[@name='run']/{tag}")
    assert found is not None
    assert found.get("message") == message
    assert suite(record).get("errors") == str(int(tag == "error"))


def test_a_failing_run_that_ended_early_is_skipped_beside_its_failures(record: Record) -> None:
    stopped = record.model_copy(update={"incomplete": "stopped at the first failure"})
    assert suite(stopped).find("testcase[@name='run']/skipped") is not None
    assert suite(stopped).get("failures") == "3"


# XML 1.0, section 2.2: tab, line feed, carriage return, and from space on without surrogates,
# U+FFFE and U+FFFF.
@pytest.mark.parametrize(
    ("character", "written"),
    [
        ("\0", "\\u0000"), ("\x08", "\\u0008"), ("\x1b", "\\u001b"), ("\ud800", "\\ud800"),
        ("\ufffe", "\\ufffe"), ("\t", "\t"), ("\ufffd", "\ufffd"), ("\U0001f600", "\U0001f600"),
        ("<&>\"'", "<&>\"'"), ("]]>", "]]>"),
    ],
)  # fmt: skip
def test_whatever_a_target_says_comes_back_from_a_parser(
    record: Record, character: str, written: str
) -> None:
    check = failing("float32", "accuracy", 31.0, "case")
    failure = check.failures[0].model_copy(update={"message": f"got {character}!"})
    hostile = record.model_copy(
        update={
            "target": f"m{character}n",
            "checks": [check.model_copy(update={"failures": [failure]})],
        }
    )
    text = junit(hostile)
    found = ET.fromstring(text.encode("utf-8")).find("testsuite/testcase/failure")
    assert found is not None
    assert (found.text, found.get("message")) == (f"got {written}!", f"got {written}!")
    assert suite(hostile).get("name") == f"m{written}n"


def test_report_writes_it_where_the_file_ends_in_xml(
    record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(record.to_json())
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(tmp_path / "run.json"), "-o", str(tmp_path / "run.xml")])
    assert (tmp_path / "run.xml").read_text() == junit(record)
    kilobytes = math.ceil((tmp_path / "run.xml").stat().st_size / 1024)
    assert capsys.readouterr().out == f"report: {tmp_path / 'run.xml'} ({kilobytes} kB)\n"
