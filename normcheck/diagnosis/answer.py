"""What a diagnosis says, and which of several hypotheses that hold it says first."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Diagnosis", "Held", "chosen"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause.

    Attributes:
        text: In words; "" where nothing explains the failure.
        kind: Its class, as ``normcheck explain K13`` prints it; "" for a convention that can be
            declared, or where none or several explain it.
    """

    text: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A hypothesis that holds."""

    kind: str
    text: str
    cost: int


def chosen(held: list[Held]) -> Diagnosis | None:
    """The one that leaves least open; both where two of different classes leave as little."""
    if not held:
        return None
    least = min(h.cost for h in held)
    first = [h for h in held if h.cost == least]
    kinds = list(dict.fromkeys(h.kind for h in first))
    if len(kinds) == 1:
        return Diagnosis(first[0].text, kinds[0])
    if len(kinds) > 2:
        return Diagnosis()
    words = [next(h.text for h in first if h.kind == kind) for kind in kinds]
    return Diagnosis(f"either {words[0]}, or {words[1]}")
