"""The run record: one versioned JSON document, of which everything else is a view.

Terminal, HTML, Markdown, events and pages show fields of this record; a number shown in two places
comes from one field. The JSON Schema is committed as docs/record.schema.json.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normcheck.errors import UsageError

__all__ = [
    "INTERRUPTED",
    "SCHEMA",
    "Caught",
    "Check",
    "Environment",
    "Failure",
    "Limit",
    "Measurement",
    "NotExercised",
    "Point",
    "Power",
    "Record",
    "Unsupported",
    "Verdict",
    "read",
    "text_of",
    "verdict_of",
]

SCHEMA = "normcheck/run/2"
# Every schema that was ever written: what an older one lacks has a default.
_SCHEMAS = r"^normcheck/run/[12]$"
# What `Record.incomplete` says of a run that the user stopped.
INTERRUPTED = "interrupted"


class Verdict(StrEnum):
    """What a check or a run says. Not judged is never green."""

    PASS = "pass"
    FAIL = "fail"
    NOT_JUDGED = "not_judged"


class _Model(BaseModel):
    # A NaN or an infinity would not come back from JSON.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Failure(_Model):
    """One counterexample of one check."""

    case: str = Field(description="Id of the smallest failing case; regenerates the input.")
    ratio: float = Field(
        description="Error over budget; capped at 1e12; 0 where nothing was measured."
    )
    message: str = Field(description="The whole explanation, at most 18 lines.")
    found_in: str = Field(
        default="", description="The case in which it was found before it was shrunk."
    )
    digest: str = Field(
        default="", description="First 16 digits of a SHA-256 over the case's tensors."
    )
    tensor: str = Field(default="", description="What is wrong: y, grad_x, running_var, ...")
    index: list[int] = Field(default_factory=list, description="Worst element, in the op's view.")
    expected: float | None = Field(
        default=None, description="Exact value there; null if not a number."
    )
    computed: float | None = Field(
        default=None, description="What the target returned; null if not a number."
    )
    accepted: list[float | None] = Field(
        default_factory=list, description="Smallest and largest accepted value there."
    )
    ulps: float | None = Field(
        default=None, description="Signed error in ulps of the output format."
    )
    condition: float | None = Field(default=None, description="Condition number of the slice.")
    matters: list[str] = Field(default_factory=list, description="What the failure depends on.")
    does_not_matter: list[str] = Field(default_factory=list)
    likely: str = Field(
        default="", description="Cause, only where a hypothesis explains the output."
    )
    kind: str = Field(default="", description="Class of the cause, K01 to K40, where one is named.")
    reproducer: str = Field(default="", description="Python that needs torch and the target alone.")


class Measurement(_Model):
    """The worst element of one case under one check."""

    case: str
    ratio: float
    condition: float
    ulps: float
    magnitude: float | None = Field(
        default=None, description="Root mean square of x in its slice; null outside of slices."
    )
    eps_share: float | None = Field(
        default=None, description="Eps over what it is added to or compared with there."
    )
    length: int | None = Field(default=None, description="Elements of its slice.")


class Check(_Model):
    """One property on one op, dtype and device."""

    id: str = Field(pattern=r"^[a-z0-9_-]+$", description="op-dtype-device-property.")
    property: str
    dtype: str
    device: str
    verdict: Verdict
    cases: int = Field(description="Cases judged.")
    worst_ratio: float = Field(description="Largest error over budget; above 1 is a failure.")
    worst_case: str = Field(default="", description="Case of the largest ratio.")
    failing_cases: int = Field(default=0, description="All failing cases, listed or not.")
    failures: list[Failure] = Field(default_factory=list)
    rounding: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Per tensor, the rounding policies that explain all cases.",
    )
    unsupported: int = Field(default=0, description="Cases that the target refused.")
    without_power: int = Field(
        default=0, description="Cases whose budget cannot tell right from wrong."
    )
    reason: str = Field(default="", description="Why it is not judged.")
    measurements: list[Measurement] = Field(default_factory=list)


class Unsupported(_Model):
    """A refusal: an exception of the target, not a failure."""

    dtype: str
    message: str
    cases: int
    example: str = Field(description="Id of one such case.")


class Caught(_Model):
    """A failure mode that this run would have caught."""

    mode: str = Field(description="Name of the mutant.")
    kind: str = Field(description="Id of its class, K01 to K40.")
    property: str = Field(description="The property that catches it.")
    case: str = Field(description="The first case of this run in which it does.")


class NotExercised(_Model):
    """A failure mode, or a class of them, that this run says nothing about."""

    name: str
    reason: str


class Power(_Model):
    """What this run would have caught: the op's mutants, judged on the run's own cases."""

    caught: list[Caught] = Field(default_factory=list)
    missed: list[str] = Field(default_factory=list, description="Mutants that would get through.")
    not_exercised: list[NotExercised] = Field(default_factory=list)
    elapsed_s: float = 0.0

    def sentence(self) -> str:
        """Say it in one line."""
        total = len(self.caught) + len(self.missed)
        if not total:
            return ""
        text = f"would have caught {len(self.caught)} of {total} failure modes"
        return f"{text}; not {', '.join(self.missed)}" if self.missed else text


class Point(_Model):
    """One measurement on the way to a limit."""

    value: float
    ratio: float


class Limit(_Model):
    """How far a target stays within budget along one axis."""

    axis: str = Field(description="condition, largest, smallest or length.")
    dtype: str
    within: float | None = Field(description="Last value within budget; null if none was.")
    beyond: float | None = Field(description="First value over budget; null if none was found.")
    curve: list[Point] = Field(default_factory=list)


class Environment(_Model):
    """Where the run took place."""

    normcheck: str
    python: str
    torch: str
    platform: str
    threads: int
    cpu_capability: str
    devices: dict[str, str]


class Record(_Model):
    """One run of one target."""

    model_config = ConfigDict(title="normcheck run record")

    schema_: str = Field(default=SCHEMA, alias="schema", pattern=_SCHEMAS)
    verdict: Verdict
    target: str
    source: str = Field(
        default="", description="File that the target is written in, and SHA-256 of it; or empty."
    )
    op: str
    binding: str = Field(description="Which parameter of the target took which of the op.")
    notes: list[str] = Field(default_factory=list, description="What the target cannot express.")
    profile: str
    seed: int
    command: str = Field(description="What repeats this run.")
    policies: dict[str, str] = Field(description="Declared policies.")
    checks: list[Check]
    unsupported: list[Unsupported] = Field(default_factory=list)
    cases_judged: int = Field(description="Distinct cases that at least one check judged.")
    incomplete: str = Field(default="", description="Why the run ended early; empty if it did not.")
    power: Power | None = Field(default=None, description="Null where it was not worked out.")
    envelope: list[Limit] = Field(default_factory=list)
    environment: Environment
    started_at: str = Field(description="UTC, ISO 8601.")
    elapsed_s: float
    elapsed_target_s: float = Field(description="Seconds spent inside the target.")
    elapsed_judge_s: float = Field(description="Seconds spent in reference, budget and comparison.")

    @property
    def worst_ratio(self) -> float:
        """Largest error over budget of all checks."""
        judged = [check for check in self.checks if check.verdict is not Verdict.NOT_JUDGED]
        return max((check.worst_ratio for check in judged), default=0.0)

    def count(self, verdict: Verdict) -> int:
        """Number of checks with this verdict."""
        return sum(check.verdict is verdict for check in self.checks)

    def to_json(self) -> str:
        """Return the document, keys in the order of the model."""
        return self.model_dump_json(by_alias=True, indent=2)


def verdict_of(checks: Sequence[Check], incomplete: str) -> Verdict:
    """Return the verdict of a run: it fails as soon as one check does."""
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if incomplete == INTERRUPTED:
        return Verdict.NOT_JUDGED  # half a run that found nothing is not green
    return Verdict.PASS if Verdict.PASS in verdicts else Verdict.NOT_JUDGED


def text_of(path: Path) -> str:
    """Return the text of a document, compressed by gzip or not.

    Raises:
        UsageError: The file is missing, or holds no text.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "it is neither UTF-8 nor compressed text"
        raise UsageError(f"{path} cannot be read: {why}") from None


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        UsageError: The file is missing, or is not a record of a known schema.
    """
    text = text_of(path)
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        faults = {".".join(map(str, each["loc"])): each for each in error.errors()}
        given = str(faults["schema"]["input"]) if "schema" in faults else ""
        if given.startswith("normcheck/run/"):
            raise UsageError(
                f"{path} is of schema {given}, but this normcheck reads up to {SCHEMA}: "
                "pip install --upgrade normcheck"
            ) from None
        where, first = next(iter(faults.items()))
        raise UsageError(
            f"{path} is not a run record of schema {SCHEMA}: {where or 'document'}: {first['msg']}"
        ) from None
