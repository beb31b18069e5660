"""A bench as one versioned JSON document, of which every table is a view. Imports no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normcheck.errors import UsageError
from normcheck.record import Environment, Verdict, text_of

__all__ = ["SCHEMA", "Bench", "Copy", "Direction", "Judgement", "Row", "read"]

SCHEMA = "normcheck/bench/1"


class Direction(StrEnum):
    """What is timed."""

    FORWARD = "forward"
    BACKWARD = "backward"


class _Model(BaseModel):
    # A NaN or an infinity would not come back from JSON.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Copy(_Model):
    """A contiguous copy: reads one half of the bytes and writes the other."""

    bytes: int
    median_s: float
    min_s: float
    iqr_s: float = Field(description="Seconds between the first and the third quartile.")
    gb_per_s: float = Field(description="Of the median; 1 GB is 1e9 bytes.")


class Judgement(_Model):
    """What normcheck says of one implementation in one format, before it is timed."""

    implementation: str = Field(description="Name, as in the rows.")
    target: str = Field(description="What was judged.")
    dtype: str
    verdict: Verdict
    worst_ratio: float = Field(description="Largest error over budget; above 1 is a failure.")
    checks: int = Field(description="Properties judged.")
    failing: list[str] = Field(default_factory=list, description="Properties that fail.")
    reason: str = Field(default="", description="Why it was not judged to the end.")
    command: str = Field(default="", description="What repeats the run.")


class Row(_Model):
    """One implementation on one size in one direction."""

    implementation: str
    dtype: str
    direction: Direction
    shape: list[int] = Field(description="Of x.")
    size: int = Field(description="Columns, or positions along each spatial dimension.")
    case: str = Field(description="Id of the inputs, the same for all implementations.")
    verdict: Verdict
    worst_ratio: float = Field(description="Of the run in this format.")
    bytes: int = Field(description="What has to be moved at least.")
    runs: int = Field(default=0, description="Measurements.")
    median_s: float | None = Field(default=None, description="Null where nothing was timed.")
    min_s: float | None = None
    iqr_s: float | None = None
    gb_per_s: float | None = Field(default=None, description="Bytes over the median.")
    share_of_copy: float | None = Field(
        default=None, description="Of the bandwidth of a copy of as many bytes."
    )
    suspect: bool = Field(default=False, description="Faster than that copy by more than 5 %.")
    memory_bytes: int | None = Field(
        default=None,
        description="Most bytes allocated at once by a forward and a backward call together, "
        "results included; null where torch does not allocate them.",
    )
    reason: str = Field(default="", description="Why it is not ranked; empty where it is.")

    @property
    def is_ranked(self) -> bool:
        """Whether its time may be compared: it was judged, passed, and was timed."""
        return self.verdict is Verdict.PASS and self.median_s is not None


class Bench(_Model):
    """One bench."""

    model_config = ConfigDict(title="normcheck bench")

    schema_: str = Field(default=SCHEMA, alias="schema")
    command: str = Field(description="What repeats this bench.")
    target: str = Field(description="Name of the first implementation.")
    op: str
    device: str
    clock: str = Field(description="How time is taken.")
    environment: Environment
    judgements: list[Judgement]
    copies: list[Copy] = Field(description="One for each number of bytes that a row moves.")
    rows: list[Row]
    notes: list[str] = Field(default_factory=list, description="What was left out, and why.")
    started_at: str = Field(description="UTC, ISO 8601.")
    elapsed_s: float

    def copy_of(self, size: int) -> Copy:
        """Return the copy of that many bytes."""
        return next(copy for copy in self.copies if copy.bytes == size)

    def to_json(self) -> str:
        """Return the document, keys in the order of the model."""
        return self.model_dump_json(by_alias=True, indent=1)


def read(path: Path) -> Bench:
    """Read a bench.

    Raises:
        UsageError: The file is missing, or is not a bench of a known schema.
    """
    text = text_of(path)
    try:
        found = Bench.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(
            f"{path} is not a bench of schema {SCHEMA}: {where}: {first['msg']}"
        ) from None
    if found.schema_ != SCHEMA:
        raise UsageError(f"{path} is of schema {found.schema_!r}, but must be {SCHEMA}")
    return found
