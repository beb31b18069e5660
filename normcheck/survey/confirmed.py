"""Which failures have a confirmed cause: a heading of docs/findings.md with a script of its own.

A failure without an entry is printed as not confirmed: the survey calls nothing a bug by itself.
An entry holds for one release, because the next may be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from normcheck.survey.confirmed_causes import CAUSES, Cause

__all__ = ["Question", "finding_of"]


@dataclass(frozen=True, slots=True)
class Question:
    """Which failure is asked about.

    Attributes:
        subject: Id of the implementation.
        dtype: Format that it fails in.
        property: That fails.
        tensor: What is wrong: y, grad_x, running_var, ...
        versions: Installed versions by distribution; a build's own suffix does not matter.
    """

    subject: str
    dtype: str
    property: str
    tensor: str
    versions: Mapping[str, str]


def finding_of(question: Question) -> str:
    """Return the heading that explains a failure, "" where none is confirmed."""
    return next((cause.heading for cause in CAUSES if _explains(cause, question)), "")


def _explains(cause: Cause, question: Question) -> bool:
    installed = question.versions.get(cause.distribution, "").partition("+")[0]
    return (
        installed == cause.version
        and question.subject in cause.subjects
        and question.dtype in cause.dtypes
        and question.tensor.startswith(cause.tensors)
        and (not cause.properties or question.property in cause.properties)
    )
