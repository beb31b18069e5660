"""What a run was told, by whom: the command line before the environment before files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normcheck.errors import UsageError, nearest

if TYPE_CHECKING:
    import pytest

__all__ = ["DEFAULTS", "Setting", "Settings"]

DEFAULTS = {
    "profile": "standard",
    "device": "cpu",
    "dtype": "",
    "seed": "",
    "known": "",
    "time-budget": "",
}
"""Every setting with its default; an empty text leaves it to the target's contract."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, and where it was said."""

    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All values."""

    found: Mapping[str, Setting]

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read them: ``--normcheck-profile``, ``NORMCHECK_PROFILE``, ini, ``[tool.normcheck]``.

        Raises:
            UsageError: ``[tool.normcheck]`` has a key that means nothing.
        """
        table = _table(config.rootpath / "pyproject.toml")
        return cls({name: _setting(config, table, name) for name in DEFAULTS})

    def __getitem__(self, name: str) -> str:
        return self.found[name].value

    def told(self) -> list[str]:
        """Say where each value that is no default comes from."""
        return [f"{n} from {s.origin}" for n, s in self.found.items() if s.origin != "default"]

    @property
    def time_budget_s(self) -> float | None:
        """Seconds after which nothing more is drawn, None without a limit.

        Raises:
            UsageError: It is no length of time.
        """
        text = self["time-budget"]
        if not text:
            return None
        seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1])
        try:
            return float(text[:-1]) * seconds if seconds else float(text)
        except ValueError:
            raise UsageError(f"time budget is {text!r}, but must be as 90s, 5m or 1h") from None


def _setting(config: pytest.Config, table: Mapping[str, object], name: str) -> Setting:
    option = f"--normcheck-{name}"
    told = config.getoption(option)
    if told is not None:
        return Setting(str(told), option)
    variable = f"NORMCHECK_{name.upper().replace('-', '_')}"
    if os.environ.get(variable):
        return Setting(os.environ[variable], variable)
    ini = f"normcheck_{name.replace('-', '_')}"
    written = config.getini(ini)
    if written:
        return Setting(str(written), ini)
    if name in table:
        value = table[name]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return Setting(text, "[tool.normcheck]")
    return Setting(DEFAULTS[name], "default")


def _table(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        table: Mapping[str, object] = tomllib.load(file).get("tool", {}).get("normcheck", {})
    for name in table:
        if name not in DEFAULTS:
            hint = nearest(name, DEFAULTS)
            raise UsageError(f"[tool.normcheck] in {path} has {name!r}, which means nothing{hint}")
    return table
