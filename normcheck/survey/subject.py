"""What a survey judges: a library and the implementations in it. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from normcheck.config import DEFAULT_DTYPES

__all__ = ["Library", "Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One implementation.

    Attributes:
        name: What the library calls it, as it is printed.
        op: What it is judged as.
        target: What `normcheck run` is given: ``package.module:name``; ``:name`` is a function of
            the adaptor's own file.
        dtypes: Formats that the library offers it in.
        policies: Conventions that its documentation declares, as NAME=VALUE.
        fixed: Parameters that keep a value, as NAME=VALUE.
        framework: What it works on: torch, numpy, jax or auto.
        variables: Environment variables of its process.
        interpreted: Whether it is written in Triton, and so goes through Triton's interpreter
            where there is no GPU.
        note: What a reader must know, in a sentence without a full stop.
    """

    name: str
    op: str
    target: str
    dtypes: tuple[str, ...] = DEFAULT_DTYPES
    policies: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    framework: str = "auto"
    variables: Mapping[str, str] = field(default_factory=dict)
    interpreted: bool = False
    note: str = ""

    def is_interpreted_on(self, device: str) -> bool:
        """Return whether Triton's interpreter runs it on a device."""
        return self.interpreted and device == "cpu"

    def environment(self, device: str) -> dict[str, str]:
        """Return the variables of its process on a device."""
        variables = dict(self.variables)
        if self.is_interpreted_on(device):
            variables["TRITON_INTERPRET"] = "1"
        return variables

    def target_in(self, module: str) -> str:
        """Return the target in full; ``module`` is the adaptor's own."""
        return f"{module}{self.target}" if self.target.startswith(":") else self.target

    def arguments(self, module: str) -> list[str]:
        """Return the command-line words that name and declare it, less op and dtypes."""
        words = [self.target_in(module)]
        for policy in self.policies:
            words += ["--policy", policy]
        for value in self.fixed:
            words += ["--set", value]
        if self.framework != "auto":
            words += ["--framework", self.framework]
        return words


@dataclass(frozen=True, slots=True)
class Library:
    """What is installed under one name.

    Attributes:
        name: What people call it.
        distributions: What pip calls it, and what it needs here besides torch; the survey lists
            the versions.
        subjects: The implementations.
        prepare: Function of the adaptor's file that shows in a second whether the library can be
            used here at all: imports, a first call. "" to import nothing.
    """

    name: str
    distributions: tuple[str, ...]
    subjects: tuple[Subject, ...]
    prepare: str = ""
