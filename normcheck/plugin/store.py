"""Records that the processes of one pytest run share: each dtype is judged once, by one of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from normcheck.record import Record

try:
    import fcntl
except ImportError:  # Windows: every process judges for itself
    fcntl = None  # type: ignore[assignment]

__all__ = ["Refusal", "Store"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target could not be judged at all."""

    text: str


Found = Record | Refusal


@dataclass(slots=True)
class Store:
    """What has been judged, by key.

    Attributes:
        folder: Where other processes see it; None for a run in one process.
    """

    folder: Path | None = None
    _here: dict[str, Found] = field(default_factory=dict)

    def get(self, key: str) -> Found | None:
        """Return what was found, None while nobody has."""
        if key not in self._here and self.folder is not None:
            path = self._path(key, ".json")
            if path.exists():
                self._here[key] = _read(path)[1]
        return self._here.get(key)

    def records(self) -> dict[str, Record]:
        """Return all records, those of other processes too, by key."""
        found = dict(self._here)
        if self.folder is not None:
            found |= dict(map(_read, self.folder.rglob("*.json")))
        return {key: each for key, each in sorted(found.items()) if isinstance(each, Record)}

    def put(self, key: str, found: Found) -> None:
        """Keep what was found; others see all of it or nothing."""
        self._here[key] = found
        if self.folder is not None:
            document = found.to_json() if isinstance(found, Record) else None
            refusal = found.text if isinstance(found, Refusal) else None
            draft = self._path(key, f".{os.getpid()}")
            draft.write_text(json.dumps([key, document, refusal]), encoding="utf-8")
            draft.replace(self._path(key, ".json"))

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Claim a key; yield whether it is ours. A process that dies gives its claims back."""
        if self.folder is None or fcntl is None:
            yield True
            return
        with self._path(key, ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _path(self, key: str, suffix: str) -> Path:
        assert self.folder is not None, "asked for where there is one"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder / (hashlib.sha256(key.encode()).hexdigest()[:24] + suffix)


def _read(path: Path) -> tuple[str, Found]:
    key, document, refusal = json.loads(path.read_text(encoding="utf-8"))
    return key, Record.model_validate_json(document) if document else Refusal(refusal)
