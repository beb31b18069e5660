"""The survey as one versioned JSON document, of which every page is a view. Imports no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normcheck.errors import UsageError
from normcheck.record import Verdict

__all__ = ["SCHEMA", "Cell", "Entry", "Fault", "Status", "Survey", "read"]

SCHEMA = "normcheck/survey/1"


class Status(StrEnum):
    """What became of one implementation. Only the first was judged."""

    JUDGED = "judged"
    REFUSED = "refused"
    NOT_INSTALLED = "not installed"
    UNUSABLE = "cannot be tried here"
    DIED = "died"
    TIMED_OUT = "ran out of time"


class _Model(BaseModel):
    # A NaN or an infinity would not come back from JSON.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fault(_Model):
    """One property that fails in one format."""

    property: str
    tensor: str = Field(description="What is wrong: y, grad_x, running_var, ...")
    ratio: float = Field(description="Largest error over budget; 0 where none is measured.")
    cases: int
    failing_cases: int
    case: str = Field(description="Id of the smallest failing case.")
    likely: str = Field(description="Cause, only where a hypothesis explains the output.")
    message: str = Field(description="First line that says what is wrong.")
    reproduce: str = Field(description="Command that judges that case again.")
    finding: str = Field(
        default="", description="Heading in docs/findings.md, if the cause is confirmed."
    )


class Cell(_Model):
    """One implementation in one format."""

    dtype: str
    verdict: Verdict
    worst_ratio: float = Field(description="Largest error over budget; above 1 is a failure.")
    checks: int = Field(description="Properties judged.")
    faults: list[Fault] = Field(default_factory=list)
    not_judged: dict[str, str] = Field(
        default_factory=dict, description="Property to the reason why it was not judged."
    )


class Entry(_Model):
    """One implementation."""

    id: str = Field(description="Adaptor and name, fit for a file name.")
    library: str
    name: str
    op: str
    target: str
    status: Status
    reason: str = Field(default="", description="Why it was not judged, or how it ended.")
    note: str = ""
    policies: list[str] = Field(default_factory=list, description="Declared conventions.")
    versions: dict[str, str] = Field(default_factory=dict)
    command: str = Field(description="What repeats this run.")
    cells: list[Cell] = Field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Fails if one format fails; passes only if every format was judged."""
        verdicts = {cell.verdict for cell in self.cells}
        if Verdict.FAIL in verdicts or self.status is Status.DIED:
            return Verdict.FAIL
        if self.status is Status.JUDGED and verdicts == {Verdict.PASS}:
            return Verdict.PASS
        return Verdict.NOT_JUDGED


class Survey(_Model):
    """One survey."""

    model_config = ConfigDict(title="normcheck survey")

    schema_: str = Field(default=SCHEMA, alias="schema")
    command: str = Field(description="What repeats this survey.")
    profile: str
    device: str
    normcheck: str
    python: str
    platform: str
    started_at: str = Field(description="UTC, ISO 8601.")
    elapsed_s: float = Field(description="Seconds of all implementations together.")
    entries: list[Entry]

    def count(self, verdict: Verdict) -> int:
        """Number of judged implementations with this verdict."""
        return sum(entry.verdict is verdict for entry in self.entries)

    def to_json(self) -> str:
        """Return the document, keys in the order of the model."""
        return self.model_dump_json(by_alias=True, indent=1)


def read(path: Path) -> Survey:
    """Read a survey.

    Raises:
        UsageError: The file is missing, or is not a survey of a known schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        survey = Survey.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(
            f"{path} is not a survey of schema {SCHEMA}: {where}: {first['msg']}"
        ) from None
    if survey.schema_ != SCHEMA:
        raise UsageError(f"{path} is of schema {survey.schema_!r}, but must be {SCHEMA}")
    return survey
