"""The survey itself: every implementation of every library, listed whatever becomes of it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

import normcheck
from normcheck.errors import UsageError
from normcheck.record import Record
from normcheck.record import read as read_record
from normcheck.survey import catalogue
from normcheck.survey.document import Cell, Entry, Status, Survey
from normcheck.survey.reading import cells_of, status_of
from normcheck.survey.running import Order, run, usable
from normcheck.survey.subject import Library, Subject

__all__ = ["Settings", "survey"]

_PREPARE_S = 180.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a survey is taken.

    Attributes:
        profile: As of `normcheck run`.
        dtypes: Formats; an implementation is tried on those that it offers.
        device: Where the targets run.
        limit_s: Most seconds for one implementation.
        jobs: Implementations judged at once.
        folder: Where entries and records are kept.
        resume: Whether entries are taken over that an earlier survey left there.
        command: What repeats the survey.
    """

    profile: str
    dtypes: tuple[str, ...]
    device: str
    limit_s: float
    jobs: int
    folder: Path
    resume: bool
    command: str


@dataclass(frozen=True, slots=True)
class _Task:
    """One implementation to judge."""

    adaptor: str
    library: Library
    subject: Subject
    settings: Settings

    @property
    def id(self) -> str:
        return f"{self.adaptor}.{self.subject.name}".replace("/", "-").replace(" ", "-")

    @property
    def arguments(self) -> list[str]:
        return self.subject.arguments(catalogue.module_of(self.adaptor))

    @property
    def offered(self) -> list[str]:
        """The formats that are asked for and offered, in order."""
        return [dtype for dtype in self.settings.dtypes if dtype in self.subject.dtypes]

    @property
    def dtypes(self) -> str:
        return ",".join(self.offered)

    def words(self) -> list[str]:
        """Return the words after ``normcheck``."""
        return [
            "run", *self.arguments, "--op", self.subject.op, "--dtype", self.dtypes,
            "--profile", self.settings.profile, "--device", self.settings.device,
        ]  # fmt: skip

    def refusal(self) -> str:
        """Return why no format is left to judge, "" if one is."""
        if self.dtypes:
            return ""
        return f"is offered in {', '.join(self.subject.dtypes)} only"

    def entry(self, status: Status, reason: str = "", **more: object) -> Entry:
        """Return the entry of this implementation."""
        set_ = [f"{k}={v}" for k, v in self.subject.environment(self.settings.device).items()]
        installed, _ = catalogue.versions(self.library)
        return Entry(
            id=self.id,
            library=self.library.name,
            name=self.subject.name,
            op=self.subject.op,
            target=self.arguments[0],
            status=status,
            reason=" ".join(reason.split()),
            note=self.subject.note,
            policies=list(self.subject.policies),
            versions=installed,
            command=" ".join([*set_, shlex.join(["normcheck", *self.words()])]),
            **more,  # type: ignore[arg-type]  # cells and elapsed_s
        )


def survey(
    libraries: Mapping[str, Library], settings: Settings, told: Callable[[Entry], None]
) -> Survey:
    """Judge what is installed of some libraries.

    Args:
        libraries: By the name of the adaptor file.
        settings: How.
        told: Gets every entry as soon as it is there.
    """
    tasks = [
        _Task(name, library, subject, settings)
        for name, library in libraries.items()
        for subject in library.subjects
    ]
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    entries = list(_entries(tasks, settings, told))
    return Survey(
        command=settings.command,
        profile=settings.profile,
        device=settings.device,
        normcheck=normcheck.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        started_at=started_at,
        elapsed_s=round(sum(entry.elapsed_s for entry in entries), 1),
        entries=entries,
    )


def _entries(
    tasks: list[_Task], settings: Settings, told: Callable[[Entry], None]
) -> Iterator[Entry]:
    """Yield the entries in the order of the tasks, whichever ends first."""
    for part in ("entries", "records", "logs"):
        (settings.folder / part).mkdir(parents=True, exist_ok=True)
    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(settings.jobs) as pool:
        try:
            for entry in pool.map(lambda task: _one(task, reasons), tasks):
                told(entry)
                yield entry
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one(task: _Task, reasons: dict[str, str]) -> Entry:
    """Return the entry of one implementation; ``reasons`` remembers what cannot be used."""
    _, missing = catalogue.versions(task.library)
    if missing:
        return task.entry(Status.NOT_INSTALLED, f"not installed: {', '.join(missing)}")
    if refusal := task.refusal():
        return task.entry(Status.REFUSED, refusal)
    kept = task.settings.folder / "entries" / f"{task.id}.json"
    if task.settings.resume and (before := _earlier(kept, task)):
        return before
    why = _unusable(task, reasons)
    entry = task.entry(Status.UNUSABLE, why) if why else _judged(task)
    kept.write_text(entry.model_dump_json(indent=1), encoding="utf-8")
    return entry


def _unusable(task: _Task, reasons: dict[str, str]) -> str:
    if not task.library.prepare:
        return ""
    variables = task.subject.environment(task.settings.device)
    key = f"{task.adaptor} {sorted(variables.items())}"
    if key not in reasons:
        module = catalogue.module_of(task.adaptor)
        reasons[key] = usable(module, task.library.prepare, variables, _PREPARE_S)
    return reasons[key]


def _earlier(kept: Path, task: _Task) -> Entry | None:
    """Return the entry of an earlier survey if the same was run on the same versions."""
    try:
        entry = Entry.model_validate_json(kept.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    same = task.entry(entry.status)
    if (entry.command, entry.versions) != (same.command, same.versions):
        return None
    if entry.status is not Status.JUDGED:
        return entry
    # Read anew: what is confirmed, or how a failure is told, may have changed since.
    try:
        record = read_record(_record_file(task))
    except UsageError:
        return None
    return entry.model_copy(update={"cells": _cells(task, record)})


def _record_file(task: _Task) -> Path:
    return task.settings.folder / "records" / f"{task.id}.json"


def _cells(task: _Task, record: Record) -> list[Cell]:
    installed, _ = catalogue.versions(task.library)
    return cells_of(record, task.id, task.arguments, installed)


def _judged(task: _Task) -> Entry:
    """Run one implementation and read its record."""
    folder = task.settings.folder
    record_file = _record_file(task)
    record_file.unlink(missing_ok=True)
    words = ("-m", "normcheck", *task.words(), "-q", "-j", "1", "--json", str(record_file))
    variables = {**_jax_cache(folder), **task.subject.environment(task.settings.device)}
    ended = run(Order(words, variables, task.settings.limit_s), folder / "logs" / f"{task.id}.txt")
    if ended.timed_out:
        why = f"did not end within {task.settings.limit_s:g} s"
        return task.entry(Status.TIMED_OUT, why, elapsed_s=ended.elapsed_s)
    try:
        record = read_record(record_file)
    except UsageError:
        why = f"ended with status {ended.status} and left no record: {ended.said}"
        return task.entry(Status.DIED, why, elapsed_s=ended.elapsed_s)
    status, reason = status_of(record)
    return task.entry(status, reason, cells=_cells(task, record), elapsed_s=ended.elapsed_s)


def _jax_cache(folder: Path) -> dict[str, str]:
    """Let subjects share what XLA compiles: all try the same shapes, and each takes a second."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str((folder / "jax-cache").resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
