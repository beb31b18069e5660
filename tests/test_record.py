"""The committed JSON Schema is the record's, and a record of this version reads back."""

import json
from pathlib import Path

from normcheck.record import Record

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "record.schema.json"


def test_the_committed_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == Record.model_json_schema(), "run `make schema`"


def test_every_field_is_described_or_named_by_itself() -> None:
    promised = {
        "schema", "verdict", "target", "op", "checks", "unsupported", "policies", "cases_judged",
        "elapsed_s",
    }  # fmt: skip
    assert promised <= set(Record.model_json_schema()["properties"])
