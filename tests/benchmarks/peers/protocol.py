"""What a peer's protocol is: data, a reference and a rule, which accept or reject."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol as Interface

from torch import Tensor

Result = dict[str, Tensor]
"""``y``, and ``dx``, ``dweight``, ``dbias`` where they were asked for and came."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: ``weight`` and ``bias`` have the normalised shape, ``dy`` that of ``x``."""

    x: Tensor
    shape: tuple[int, ...]
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5
    dy: Tensor | None = None

    @property
    def leaves(self) -> dict[str, Tensor]:
        named = {"x": self.x, "weight": self.weight, "bias": self.bias}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


class RefusalError(Exception):
    """The implementation raised, or returned something that is not one tensor."""


class Implementation(Interface):
    """What is judged.

    Attributes:
        name: What the table calls it.
        forward_only: Its gradients are known not to be right, or it has none.
        inplace: It declares that it overwrites ``x``.
    """

    @property
    def name(self) -> str: ...

    @property
    def forward_only(self) -> bool: ...

    @property
    def inplace(self) -> bool: ...

    def output(self, sample: Sample) -> Tensor:
        """Return y, attached to whichever tensors of the sample require gradients."""

    def __call__(self, sample: Sample) -> Result:
        """Return y, and gradients if the sample has a dy."""


Check = Callable[[Implementation], bool]
Reference = Callable[[Sample], Result]
Rule = Callable[[Result, Result], bool]
"""Computed and expected to the verdict."""


@dataclass(frozen=True)
class Protocol:
    """One project's way to test one op.

    Attributes:
        name: The project and the test.
        op: ``layer_norm`` or ``rms_norm``.
        source: Where it was read, with a version or a commit.
        judges: What is compared.
        rule: Data and tolerance, in a few words.
        make: Makes the checks anew, cheap ones first where the order is free.
        reduced: What was made smaller or left out.
    """

    name: str
    op: str
    source: str
    judges: str
    rule: str
    make: Callable[[str], Iterable[Check]]
    reduced: str = ""

    @property
    def sees_gradients(self) -> bool:
        return "dx" in self.judges

    def accepts(self, implementation: Implementation) -> bool:
        """Make the data, and judge."""
        return passes(implementation, self.make(self.op))


def passes(implementation: Implementation, checks: Iterable[Check]) -> bool:
    """Stop at the first check that fails; one who raises is rejected."""
    try:
        return all(check(implementation) for check in checks)
    except RefusalError:
        return False


def against(sample: Sample, reference: Reference, rule: Rule) -> Check:
    """Compare with a reference that is worked out first, on the same tensors, and once."""
    known: list[Result] = []

    def check(implementation: Implementation) -> bool:
        expected = known[0] if known else reference(sample)
        known[:] = [expected]
        computed = implementation(sample)
        if implementation.forward_only:
            expected = {"y": expected["y"]}
        return rule(computed, expected)

    return check
