"""Where each mutant is known to be caught: measured, and only an order to try cases in."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

__all__ = ["FILE", "first_cases"]

FILE = Path(__file__).with_name("first_cases.json")


@cache
def first_cases() -> dict[str, list[str]]:
    """Return, by name of the mutant, ids of cases in which it was caught; the fastest first."""
    if not FILE.exists():
        return {}
    found: dict[str, list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
