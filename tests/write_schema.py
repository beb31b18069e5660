"""Write docs/record.schema.json: `make schema`."""

import json
from pathlib import Path

from normcheck.record import Record

if __name__ == "__main__":
    place = Path(__file__).resolve().parent.parent / "docs" / "record.schema.json"
    place.write_text(json.dumps(Record.model_json_schema(), indent=2) + "\n")
