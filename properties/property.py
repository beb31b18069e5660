"""What a property is: a claim that must hold for every case, and how one case is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from normcheck.numerics.comparison import Worst

if TYPE_CHECKING:
    from normcheck.cases.materialise import Inputs
    from normcheck.execution.way import Way
    from normcheck.properties.trial import Trial
    from normcheck.targets.adapter import Adapter

__all__ = ["Explanation", "Finding", "Outcome", "Property", "SpecialCall", "Status"]


class Status(StrEnum):
    """What one case says about one property."""

    HELD = "held"
    VIOLATED = "violated"
    UNSUPPORTED = "unsupported"  # the target refused the case with a Python exception
    POWERLESS = "powerless"  # no budget here can tell right from wrong
    INAPPLICABLE = "inapplicable"  # the property says nothing about such a case


@dataclass(frozen=True, slots=True)
class Explanation:
    """The page that ``normcheck explain`` prints.

    Attributes:
        claim: What must hold, one sentence.
        why: What goes wrong where it does not.
        bound: How far is allowed, and where that comes from.
        bugs: Real bugs that it would have caught, each with its place.
    """

    claim: str
    why: str
    bound: str
    bugs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpecialCall:
    """The call that shows what is wrong, so that a script can make it again.

    Attributes:
        inputs: With what it was made.
        way: How.
        earlier: With what the target was called before, in order.
        shared: Whether those calls were made on the same tensors, which were then written to.
        between: With what the target was called between the forward pass and the backward pass.
        ordinary: Whether it does not matter if gradients are enabled.
    """

    inputs: Inputs
    way: Way
    earlier: tuple[Inputs, ...] = ()
    shared: bool = False
    between: Inputs | None = None
    ordinary: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one case.

    Attributes:
        tensor: ``y``, ``grad_x``, ``running_var``, or the name of an argument.
        detail: What is wrong, one line, where no number says it.
        worst: The worst element, None where nothing was measured.
        rounding: The rounding policy that came closest.
        violations: Elements outside the accepted values.
        judged: Elements that were judged.
        dead: Whether the call hung or ended the process: it is not repeated to find a smaller one.
        call: The call of which ``detail`` says what is special; None for the plain one, and where
            it takes more than a call to show what is wrong.
    """

    tensor: str
    detail: str = ""
    worst: Worst | None = None
    rounding: str = ""
    violations: int = 0
    judged: int = 0
    dead: bool = False
    call: SpecialCall | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case says about one property.

    Attributes:
        status: The answer.
        ratio: Largest error over budget; 0 where nothing was measured.
        worst: The element of that ratio.
        finding: What is wrong, if violated.
        reason: Why it was not judged, in the target's words where it refused.
    """

    status: Status
    ratio: float = 0.0
    worst: Worst | None = None
    finding: Finding | None = None
    reason: str = ""


class Property(ABC):
    """A claim that must hold for every case. One file each; the file is its registration.

    Attributes:
        name: What the check ids end in: ``[a-z0-9_]``.
        explanation: Its page.
        parameter: A parameter without which an op has nothing to be judged; "" for any op.
        declared: A policy without which nothing is claimed, as ``reruns=batch_invariant``; "" where
            the claim needs no declaration.
        formats: Names of the formats that it says anything about; all if empty.
        silent: Whether it is left out of a record of many properties where no case concerned it.
        local: Whether it is about calls in one process, and says nothing of ops on several ranks.
        heavy: Whether a call costs so much that mutants meet it only if it must catch them.
    """

    name: str
    explanation: Explanation
    parameter: str = ""
    declared: str = ""
    heavy: bool = False
    formats: tuple[str, ...] = ()
    silent: bool = False
    local: bool = False

    def concerns(self, adapter: Adapter) -> bool:
        """Return whether it says anything about a target; if not, it is not among the checks."""
        return not self.parameter or adapter.op.parameter(self.parameter) is not None

    @abstractmethod
    def judge(self, trial: Trial) -> Outcome:
        """Judge one case."""
