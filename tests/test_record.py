"""The committed JSON Schema is the record's, and a record of this version reads back."""

import gzip
import json
from pathlib import Path

import pytest

from normcheck.errors import UsageError
from normcheck.record import Record, Verdict, read

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "record.schema.json"


def test_the_committed_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == Record.model_json_schema(), "run `make schema`"


def test_every_field_is_described_or_named_by_itself() -> None:
    promised = {
        "schema", "verdict", "target", "op", "checks", "unsupported", "policies", "cases_judged",
        "elapsed_s",
    }  # fmt: skip
    assert promised <= set(Record.model_json_schema()["properties"])


RECORDS = Path(__file__).resolve().parent / "reports" / "records"


@pytest.mark.parametrize("name", ["run-1.json", "run-2.json"])
def test_every_schema_that_was_written_is_read(name: str) -> None:
    found = read(RECORDS / name)
    assert found.schema_ == f"normcheck/run/{name[4]}"
    assert found.verdict is Verdict.FAIL
    assert {check.dtype for check in found.checks} == {"float32", "bfloat16"}


def test_a_newer_schema_is_told_apart_from_a_broken_file(tmp_path: Path) -> None:
    document = json.loads((RECORDS / "run-2.json").read_text())
    place = tmp_path / "run.json"
    place.write_text(json.dumps({**document, "schema": "normcheck/run/9"}))
    with pytest.raises(UsageError, match=r"of schema normcheck/run/9, .* reads up to .*--upgrade"):
        read(place)
    place.write_text(json.dumps({**document, "verdict": "fine"}))
    with pytest.raises(UsageError, match=r"is not a run record of schema .*: verdict: "):
        read(place)


def test_a_compressed_record_is_read_and_what_is_no_text_is_told(tmp_path: Path) -> None:
    plain = (RECORDS / "run-2.json").read_bytes()
    place = tmp_path / "record.json.gz"
    place.write_bytes(gzip.compress(plain))
    assert read(place) == read(RECORDS / "run-2.json")
    for broken in (gzip.compress(plain)[:99], b"\xff\xfe\x00"):
        place.write_bytes(broken)
        with pytest.raises(UsageError, match="neither UTF-8 nor compressed text"):
            read(place)
