from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from normcheck.cli import main
from normcheck.record import Measurement, Record
from normcheck.reports.cases_csv import COLUMNS, cases_csv

from .conftest import check


def rows(record: Record) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(cases_csv(record), newline="")))


def test_every_measurement_of_every_check_is_a_row(record: Record) -> None:
    twice = record.model_copy(update={"checks": [*record.checks, record.checks[0]]})
    assert len(rows(record)) == 41
    assert len(rows(twice)) == 82
    assert [float(row["ulps"]) for row in rows(record)] == [-float(n) for n in range(1, 42)]


def test_a_row_says_which_check_of_which_target_it_is_of(record: Record) -> None:
    first = rows(record)[0]
    assert tuple(first) == COLUMNS
    assert first == {
        "target": "mykernels:rms_norm", "op": "rms_norm", "check": "rms_norm-float32-cpu-accuracy",
        "property": "accuracy", "dtype": "float32", "device": "cpu", "check_verdict": "pass",
        "case": "nc1:rms_norm/f32/4x1/plain", "ratio": "0.01", "condition": "100000.0",
        "ulps": "-1.0", "magnitude": "", "eps_share": "", "length": "",
    }  # fmt: skip


def test_numbers_come_back_bit_by_bit(record: Record) -> None:
    third = Measurement(
        case="c", ratio=1 / 3, condition=1e300, ulps=-2 / 3, magnitude=5e-324, eps_share=0.1,
        length=4194304,
    )  # fmt: skip
    checks = [check("float32", "accuracy", measurements=[third])]
    (row,) = rows(record.model_copy(update={"checks": checks}))
    numbers = {name: float(row[name]) for name in COLUMNS[8:]}
    assert numbers == third.model_dump(exclude={"case"})


def test_a_run_that_measured_nothing_has_a_header_alone(not_judged: Record) -> None:
    assert cases_csv(not_judged) == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " ="])
def test_no_text_is_a_formula(record: Record, begin: str) -> None:
    hostile = record.model_copy(update={"target": f'{begin}HYPERLINK("http://x")'})
    assert rows(hostile)[0]["target"] == f'\'{begin}HYPERLINK("http://x")'


@pytest.mark.parametrize("target", ['m:f,"g"', "m:f\ng", "a=b", "m:-f", ""])
def test_other_text_is_as_it_was(record: Record, target: str) -> None:
    assert rows(record.model_copy(update={"target": target}))[0]["target"] == target


def test_report_writes_it_where_the_file_ends_in_csv(record: Record, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(record.to_json())
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(tmp_path / "run.json"), "-o", str(tmp_path / "run.csv")])
    assert (tmp_path / "run.csv").read_text() == cases_csv(record)


def test_report_tells_which_endings_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(tmp_path / "run.json"), "-o", "run.xlsx"])
    told = "output is run.xlsx, but must end in .html, .htm, .md, .xml or .csv"
    assert capsys.readouterr().err == f"normcheck: {told}\n"
