"""The entries of a file of known failures: what one says, and how it is read and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from normcheck.cases.case import Case
from normcheck.errors import NormcheckError, UsageError, nearest

__all__ = ["Entry", "Failed", "Subject", "entries_of"]

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Subject:
    """A check of a target.

    Attributes:
        check: Its id.
        target: What the target is called.
        place: Node id of the contract or the target.
    """

    check: str
    target: str
    place: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A failing check: where, in which case, and its error over budget."""

    subject: Subject
    case: str
    ratio: float


class Entry(BaseModel):
    """One ``[[known]]`` table.

    Attributes:
        check: Id of the check, with ``*`` for any characters.
        target: What its target is called, or the node id of its contract; empty for any.
        case: Id of the case in which it fails.
        reason: Why that is accepted.
        issue: Where it is being worked on.
        until: Last day on which it excuses; None for ever.
        ratio: Error over budget when it was written; 0 if that does not matter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: Text
    target: str = ""
    case: Text
    reason: Text
    issue: str = ""
    until: date | None = None
    ratio: float = Field(default=0.0, ge=0.0)

    @field_validator("case")
    @classmethod
    def _is_a_case(cls, text: str) -> str:
        try:
            Case.parse(text)
        except NormcheckError as error:
            raise ValueError(str(error)) from None
        return text

    def names(self, subject: Subject) -> bool:
        """Return whether it names a check of a target."""
        target = self.target or "*"
        called = fnmatchcase(subject.target, target) or fnmatchcase(subject.place, target)
        return called and fnmatchcase(subject.check, self.check)

    def speaks_of(self, subject: Subject) -> bool:
        """Return whether it names a check, and its case is of the check's op and format."""
        case = Case.parse(self.case)
        return self.names(subject) and subject.check.startswith(f"{case.op}-{case.dtype}-")

    def toml(self) -> str:
        """Return it as it is written."""
        lines = ["[[known]]"]
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, date):
                lines.append(f"{name} = {value.isoformat()}")
            elif value:
                lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        return "\n".join(lines) + "\n"


def entries_of(path: Path) -> tuple[Entry, ...]:
    """Read a file.

    Raises:
        UsageError: It is no TOML, or has an entry that means nothing.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    tables = document.get("known", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path} has [known], but each entry must be a table [[known]]")
    return tuple(_entry(path, table) for table in tables)


def _entry(path: Path, table: Mapping[str, object]) -> Entry:
    try:
        return Entry.model_validate(table)
    except ValidationError as error:
        # What an entry lacks is told before what it has and means nothing.
        first = min(error.errors(), key=lambda each: each["type"] == "value_error")
    name = str(first["loc"][0])
    match first["type"]:
        case "extra_forbidden":
            raise UsageError(
                f"an entry of {path} has {name!r}{nearest(name, list(Entry.model_fields))}"
            )
        case "missing" | "string_too_short":
            raise UsageError(
                f"an entry of {path} has no {name}, but must name check, case and reason"
            )
        case "date_from_datetime_parsing" | "date_parsing" | "date_from_datetime_inexact":
            raise UsageError(f"until is {table[name]!r} in {path}, but must be a day: 2027-03-01")
    raise UsageError(f"{name} is {table[name]!r} in {path}: {first['msg']}")
