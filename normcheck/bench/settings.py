"""What a bench was asked for, with its words read. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from normcheck.errors import UsageError
from normcheck.policy import Policy

__all__ = ["Implementation", "Settings", "sizes_of"]


@dataclass(frozen=True, slots=True)
class Implementation:
    """One implementation, as it was named.

    Attributes:
        target: What names it.
        policies: Declared conventions.
        fixed: Values for parameters of it that are none of the op's.
        framework: What it works on.
    """

    target: str
    policies: tuple[str, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    framework: str = "auto"

    @property
    def name(self) -> str:
        """The target, and what tells it from the same target called in another way."""
        return " ".join([self.target, *self.options()])

    def options(self) -> list[str]:
        """Return what follows the target on a command line."""
        words = [word for policy in self.policies for word in ("--policy", policy)]
        for name, value in self.fixed.items():
            words += ["--set", f"{name}={value!r}"]
        return words + (["--framework", self.framework] if self.framework != "auto" else [])


@dataclass(frozen=True, slots=True)
class Settings:
    """One bench.

    Attributes:
        target: Whose speed it is about.
        op: Name of the op; told from the target's name if empty.
        against: What it is compared with; torch's own function, as it is and compiled, if empty.
        dtypes: Names of formats.
        device: As the user typed it.
        sizes: Columns, or positions along each spatial dimension; the op's own if empty.
        rows: Rows, or samples of an op on channels; None for the op's own number.
        timeout_s: Most seconds for one call while it is judged.
        least_s: Seconds that one measurement takes at least.
        command: What repeats it.
    """

    target: Implementation
    op: str = ""
    against: tuple[Implementation, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    device: str = "cpu"
    sizes: tuple[int, ...] = ()
    rows: int | None = None
    timeout_s: float = 60.0
    least_s: float = 0.2
    command: str = ""

    def checked(self) -> Settings:
        """Return it with its op, before the seconds that torch takes.

        Raises:
            UsageError: A word is unknown, or a number too small; the message says what is valid.
        """
        from normcheck.ops import catalogue

        op = self.op or catalogue.guess(self.target.target)
        if op not in catalogue.names():
            catalogue.find(op)
        for size in self.sizes:
            if size < 1:
                raise UsageError(f"size is {size}, but must be at least 1")
        if self.rows is not None and self.rows < 1:
            raise UsageError(f"rows is {self.rows}, but must be at least 1")
        for each in (self.target, *self.against):
            Policy.parse(each.policies)
        return replace(self, op=op)


def sizes_of(text: str) -> tuple[int, ...]:
    """Read sizes that are joined by commas.

    Raises:
        UsageError: One of them is no whole number.
    """
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if not word.isdecimal():
            raise UsageError(f"size is {word!r}, but must be a whole number of at least 1")
        found.append(int(word))
    return tuple(dict.fromkeys(found))
