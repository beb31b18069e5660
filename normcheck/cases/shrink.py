"""From a failing case to the smallest recipe that still fails, and to what it depends on.

The steps are those of a recipe, not of arrays: fewer rows, fewer columns, one regime instead of a
mix, defaults instead of settings. Greedy, in an order that makes later steps cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from normcheck.cases import regimes
from normcheck.cases.case import Case
from normcheck.cases.corpus import expressible
from normcheck.cases.materialise import has_groups
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.ops import catalogue
from normcheck.ops.op import Family

__all__ = ["Shrunk", "shrink"]

Fails = Callable[[Case], bool | None]
"""Whether a case fails; None where it cannot be judged."""

MOST_TRIALS = 120


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing case that was found.

    Attributes:
        case: The recipe.
        matters: Knobs whose change makes the failure go away.
        does_not_matter: Knobs that can be changed without that.
    """

    case: Case
    matters: tuple[str, ...]
    does_not_matter: tuple[str, ...]


def _regimes(case: Case) -> Iterator[Case]:
    """One regime instead of a mix, the plainest first."""
    if case.regime in regimes.MIXES:
        tokens = regimes.mix(case.regime, FloatFormat.of(BY_NAME[case.dtype]))
        for token in dict.fromkeys(tokens):
            yield replace(case, regime=token)
    elif case.regime != "plain":
        yield replace(case, regime="plain")


def _smaller(size: int) -> list[int]:
    """Sizes to try instead, the smallest first, then halves and what lies just above them."""
    halves = [size // 2, size // 2 + 1] if size > 8 else []
    powers = [2**k + 1 for k in range(4, 16) if 2**k + 1 < size][-1:] if size > 16 else []
    near = [size - max(size >> k, 1) for k in range(2, 12)]  # bisects the last stretch
    tries = [1, 2, 3, 4, 8, *halves, *powers, *near]
    return [n for n in dict.fromkeys(tries) if 0 < n < size]


def _shapes(case: Case) -> Iterator[Case]:
    """Lower rank, then each dimension smaller, the leading ones first."""
    op = catalogue.find(case.op)
    shape = case.shape
    if op.family is Family.ROWS and len(shape) > 2:
        # What is normalised stays together: trailing dimensions, or all but the first.
        split = 1 if op.axis == 0 else len(shape) - case.dims
        rows, columns = math.prod(shape[:split]), math.prod(shape[split:])
        yield replace(case, shape=(rows, columns), dims=1)
    if op.family is Family.CHANNELS and len(shape) > 3:
        yield replace(case, shape=(*shape[:2], math.prod(shape[2:])), layout="contiguous")
    for axis, size in enumerate(shape):
        for smaller in _smaller(size):
            changed = (*shape[:axis], smaller, *shape[axis + 1 :])
            grouped = len(shape) - 1 if op.parameter("group_size") else 1
            if has_groups(op) and axis == grouped and smaller % case.groups:
                continue
            yield replace(case, shape=changed)


def _settings(case: Case) -> Iterator[Case]:
    """Defaults and absences instead of settings."""
    plain, op = Case(case.op, case.dtype, case.shape), catalogue.find(case.op)
    # One group is what most gated norms have; a group norm of one group is a special case.
    groups = ("groups",) if op.parameter("group_size") is not None else ()
    for name in ("eps", "layout", "momentum", "mode", "stats", "seed", *groups):
        if getattr(case, name) != getattr(plain, name):
            yield case.changed(**{name: getattr(plain, name)})
    for name in ("bias", "weight"):
        if op.parameter(name) is not None and getattr(case, name) != "none":
            yield case.changed(**{name: "none"})


def _has_meaning(case: Case) -> bool:
    """Whether the op has a meaning for a case as it is: its shape, and what may be absent."""
    return expressible(case, catalogue.find(case.op)) == case


def _step(case: Case, fails: Fails, tried: set[str]) -> Case | None:
    """Return a simpler case that still fails."""
    for candidates in (_regimes, _settings, _shapes):
        for candidate in candidates(case):
            if candidate.id in tried or len(tried) >= MOST_TRIALS:
                continue
            tried.add(candidate.id)
            if _has_meaning(candidate) and fails(candidate):
                return candidate
    return None


def shrink(case: Case, fails: Fails, *, fits: Callable[[Case], Case]) -> Shrunk:
    """Shrink a failing case.

    Args:
        case: A case that fails.
        fails: Whether a case fails, None where it cannot be judged; called at most `MOST_TRIALS`
            times and a few more.
        fits: The nearest case that the target can express.
    """

    def fails_as_fitted(candidate: Case) -> bool:
        return fits(candidate) == candidate and fails(candidate) is True

    tried = {case.id}
    while (simpler := _step(case, fails_as_fitted, tried)) is not None:
        case = simpler
    matters: list[str] = []
    does_not: list[str] = []
    for knob, others in _variations(case):
        fitting = [other for other in others if _has_meaning(other) and fits(other) == other]
        answers = [fails(other) for other in fitting]
        if False in answers:
            matters.append(knob)
        elif True in answers:
            does_not.append(knob)
    return Shrunk(case, tuple(matters), tuple(does_not))


def _variations(case: Case) -> Iterator[tuple[str, list[Case]]]:
    """Change one knob at a time to other ordinary values; a size to a larger and a smaller one."""
    op = catalogue.find(case.op)
    other = "bfloat16" if case.dtype != "bfloat16" else "float32"
    yield "dtype", [replace(case, dtype=other)]
    if case.regime != "plain":
        yield "regime", [replace(case, regime="plain")]
    is_rows = op.family is Family.ROWS
    if len(case.shape) > 1:
        yield "rows" if is_rows else "samples", _resized(case, _row_axis(case), 2)
    if is_rows or len(case.shape) > 2:
        yield "columns" if is_rows else "positions", _resized(case, len(case.shape) - 1, 5)
    yield "eps", [replace(case, eps=0.01 if case.eps != 0.01 else 1e-5)]
    for name in ("weight", "bias"):
        if op.parameter(name) is not None:
            value = "none" if getattr(case, name) == "mixed" else "mixed"
            yield name, [case.changed(**{name: value})]
    yield "seed", [replace(case, seed=(case.seed + 101) % 2**32)]


def _row_axis(case: Case) -> int:
    """Return the longest of the dimensions that count rows; of channels ops the first one."""
    if catalogue.find(case.op).family is Family.CHANNELS:
        return 0
    # Queries and keys are two, however many there are of each.
    free = [a for a in range(len(case.shape) - 1) if any(map(_has_meaning, _resized(case, a, 2)))]
    return max(free, key=lambda axis: case.shape[axis], default=0)


def _resized(case: Case, axis: int, step: int) -> list[Case]:
    sizes = [case.shape[axis] + step, case.shape[axis] // 2]
    return [
        replace(case, shape=(*case.shape[:axis], size, *case.shape[axis + 1 :]))
        for size in sizes
        if size > 0
    ]
