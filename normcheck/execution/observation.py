"""What a target did with one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

__all__ = ["Observation", "Raised", "Trouble"]


class Trouble(StrEnum):
    """Why a call gave no outputs."""

    REFUSED = "refused"  # a Python exception: recorded as unsupported, not as wrong
    EXITED = "exited"  # SystemExit: a process that dies is a failure
    HUNG = "hung"  # no return within the time limit
    UNEXPECTED = "unexpected"  # it returned something else than the op's outputs
    NO_GRADIENT = "no_gradient"  # nothing to differentiate


@dataclass(frozen=True, slots=True)
class Raised:
    """Trouble, and its text in one line."""

    trouble: Trouble
    text: str


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one call left behind, on the CPU.

    Attributes:
        outputs: By the op's name of the output.
        gradients: By the op's name of the parameter; empty for a forward call.
        state: Buffers after the call.
        mutated: Arguments, and gradients fed back, whose bits changed without being declared.
        raised: Why there are no outputs, or no gradients.
        elapsed_s: Seconds spent inside the target.
        devices: Type of the device that each output was on.
        trespassed: Arguments beside which memory was written to; looked at where a call arranges
            its arguments in memory.
    """

    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)
    mutated: tuple[str, ...] = ()
    raised: Raised | None = None
    elapsed_s: float = 0.0
    devices: Mapping[str, str] = field(default_factory=dict)
    trespassed: tuple[str, ...] = ()
