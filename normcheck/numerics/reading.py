"""Readings: what a correct target may round on the way to, or after, the norm itself.

A fused addition may normalise the sum as it was accumulated or as it is returned; a gate may be
rounded to the input's format, and so may what it multiplies. Each reading has the rounding policies
of `rounding_policy` beneath it, and its prefix before their names.
"""

from __future__ import annotations

from dataclasses import dataclass

from normcheck.numerics.problem import Problem
from normcheck.numerics.rounding_choice import ROUNDED_SUM, RoundingChoice

__all__ = ["Reading", "open_readings"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading.

    Attributes:
        prefix: Put before the names of rounding policies.
        rounds_sum: The norm reads the rounded residual sum.
        rounds_norm: What the gate multiplies is rounded first, and so are its gradients.
        rounds_gate: The gate's own value is rounded too.
    """

    prefix: str = ""
    rounds_sum: bool = False
    rounds_norm: bool = False
    rounds_gate: bool = False

    def rounds_input(self, problem: Problem) -> bool:
        """Whether what enters the norm is rounded before."""
        return self.rounds_sum or (self.rounds_gate and problem.gate_first)


_PLAIN = Reading()
_SUM = Reading(ROUNDED_SUM, rounds_sum=True)
_NORM = Reading("rounded_norm+", rounds_norm=True)
_GATE = Reading("rounded_gate+", rounds_norm=True, rounds_gate=True)


def _offered(problem: Problem, *, narrow: bool) -> list[Reading]:
    if problem.residual is not None:
        return [_PLAIN, _SUM]
    if problem.gate is None or not narrow:
        return [_PLAIN]
    return [_PLAIN, _GATE] if problem.gate_first else [_PLAIN, _NORM, _GATE]


def open_readings(problem: Problem, choice: RoundingChoice, *, narrow: bool) -> list[Reading]:
    """Return the readings that outputs have not ruled out; all where they have ruled out all.

    Args:
        problem: The case.
        choice: Rounding policies that are still open.
        narrow: Whether the input's format is narrower than the one that sums are kept in.
    """
    offered = _offered(problem, narrow=narrow)
    prefixes = [reading.prefix for reading in offered if reading.prefix]
    dead, still = choice.dead.get("y", set()), []
    for reading in offered:
        mine = {
            name
            for name in choice.seen.get("y", ())
            if next((p for p in prefixes if name.startswith(p)), "") == reading.prefix
        }
        if not mine or not mine <= dead:
            still.append(reading)
    return still or offered
