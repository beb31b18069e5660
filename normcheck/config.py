"""Profiles: how much is tried. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from normcheck.errors import UsageError, nearest

__all__ = [
    "DEFAULT_DTYPES", "DTYPES", "PROFILES", "Profile", "dtypes", "leading", "parts", "profile",
]  # fmt: skip

DTYPES = ("float16", "bfloat16", "float32", "float64")
# float64 is judged when it is asked for: kernels for accelerators seldom claim it, and many compute
# in float32 whatever they are given.
DEFAULT_DTYPES = DTYPES[:3]
_DTYPE_ALIASES = {
    "fp16": "float16", "f16": "float16", "half": "float16", "bf16": "bfloat16",
    "fp32": "float32", "f32": "float32", "float": "float32", "fp64": "float64",
    "f64": "float64", "double": "float64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """How much of each kind is tried per dtype.

    Attributes:
        name: What the user types.
        depth: How many tables of the corpus are run.
        drawn: Cases that Hypothesis draws after them.
        limit: Most elements of a drawn case.
        longest: Longest slice that the envelope tries.
        enough: Cases of a further dtype on which a property that calls in other ways is judged:
            strides and caches seldom depend on the dtype. None for all.
        fresh_seed: Whether a run without --seed takes a new one; it is printed either way.
        time_budget_s: Seconds after which nothing more is drawn; None without a limit.
    """

    name: str
    depth: int
    drawn: int
    limit: int
    longest: int = 1 << 20
    enough: int | None = None
    fresh_seed: bool = False
    time_budget_s: float | None = None


PROFILES = {
    p.name: p
    for p in (
        Profile("quick", depth=1, drawn=10, limit=1 << 11, longest=1 << 16, enough=4),
        Profile("standard", depth=2, drawn=50, limit=1 << 14),
        Profile("thorough", depth=3, drawn=400, limit=1 << 17),
        Profile(
            "nightly", depth=3, drawn=20_000, limit=1 << 17, fresh_seed=True, time_budget_s=3600.0
        ),
    )
}


def profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    if name not in PROFILES:
        raise UsageError(f"profile is {name!r}, but must be known{nearest(name, PROFILES)}")
    return PROFILES[name]


def leading(dtypes: Sequence[str]) -> str:
    """Return the dtype that is judged in every way; see `Profile.enough`."""
    return "float32" if "float32" in dtypes else dtypes[0]


def parts(dtypes: Sequence[str], jobs: int, profile: Profile) -> list[tuple[str, ...]]:
    """Share dtypes among processes, so that each has about as much to do."""
    first = leading(dtypes)
    # Most failure modes show in the leading dtype, and in quick most properties are judged there.
    extra = 0.5 if profile.enough is None else 2.0
    shares: list[list[str]] = [[] for _ in range(max(1, min(jobs, len(dtypes))))]
    for name in sorted(dtypes, key=lambda dtype: dtype != first):
        min(shares, key=lambda share: len(share) + extra * (first in share)).append(name)
    return [tuple(name for name in dtypes if name in share) for share in shares]


def dtypes(text: str) -> tuple[str, ...]:
    """Read a list of dtypes separated by commas; short names are understood.

    Raises:
        UsageError: One of them is not judged; the message names the nearest.
    """
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name = _DTYPE_ALIASES.get(word, word)
        if name not in DTYPES:
            hint = nearest(word, [*DTYPES, *_DTYPE_ALIASES])
            raise UsageError(f"dtype is {word!r}, but must be known{hint}")
        found.append(name)
    if not found:
        raise UsageError(f"dtype is {text!r}, but must be one or more of {', '.join(DTYPES)}")
    return tuple(dict.fromkeys(found))
