"""What a run would have caught, and how far its target reaches, in words."""

from __future__ import annotations

import re
import textwrap

from normcheck.record import Limit, Record

__all__ = ["AXES", "envelope_lines", "power_lines"]

AXES = {
    "condition": "mean/std",
    "largest": "largest magnitude",
    "smallest": "smallest magnitude",
    "length": "elements of a slice",
}


def power_lines(record: Record) -> list[str]:
    """Return what the run would have caught, one sentence a line; empty if nobody worked it out."""
    power = record.power
    if power is None:
        return []
    lines = [power.sentence()] if power.sentence() else []
    reasons: dict[str, list[str]] = {}
    for item in power.not_exercised:
        # Of classes, what a CPU cannot show is the same in every run: their page says it.
        why = (
            "in part, see their pages in normcheck explain"
            if re.fullmatch(r"K\d+", item.name)
            else item.reason
        )
        reasons.setdefault(why, []).append(item.name)
    lines += [f"not exercised: {', '.join(names)}: {why}" for why, names in reasons.items()]
    return [textwrap.fill(line, 98, subsequent_indent="  ") for line in lines]


def envelope_lines(record: Record) -> list[str]:
    """Return how far the target stays within budget, one axis a line."""
    return [
        f"{limit.dtype} {AXES.get(limit.axis, limit.axis)}: {_reach(limit)}"
        for limit in record.envelope
    ]


def _reach(limit: Limit) -> str:
    if limit.within is None and limit.beyond is None:
        return "not judged"
    if limit.within is None:
        return f"over budget already at {limit.beyond:.3g}"
    if limit.beyond is None:
        return f"within budget at {limit.within:.3g}, the furthest that can be judged"
    return f"within budget up to {limit.within:.3g}, over it at {limit.beyond:.3g}"
