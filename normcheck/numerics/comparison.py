"""What one tensor looked like against its budget: counts, and the worst element with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.numerics.acceptance import RATIO_CAP, Interval, error_ratio
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import Piece
from normcheck.numerics.ulp import spacing

__all__ = ["Comparison", "Slices", "Worst", "compare", "unravelled"]


@dataclass(frozen=True, slots=True)
class Slices:
    """What the slices of a piece are like: to be told beside an error.

    Attributes:
        condition: Slice shape: kappa = sqrt(mean x^2 / v); 1 where the op is not centred.
        magnitude: Slice shape: root mean square of x; of the given variance where one is given.
        eps_share: Slice shape: eps over what it is added to or compared with.
        length: Elements of a slice.
    """

    condition: Tensor
    magnitude: Tensor
    eps_share: Tensor
    length: int


@dataclass(frozen=True, slots=True)
class Worst:
    """The element with the largest ratio.

    Attributes:
        ratio: Error over budget.
        index: Where, in the view of the op's reduction.
        computed: What the target returned.
        reference: The exact result, rounded to float64.
        lower: Smallest accepted value.
        upper: Largest accepted value.
        ulps: Signed error in ulps of the output format.
        condition: Condition number of the slice; 1 where it has no meaning.
        magnitude: Root mean square of x in the slice; None where it belongs to none.
        eps_share: Eps over what it is added to in the slice; None likewise.
        length: Elements of the slice; None likewise.
    """

    ratio: float
    index: tuple[int, ...]
    computed: float
    reference: float
    lower: float
    upper: float
    ulps: float
    condition: float
    magnitude: float | None = None
    eps_share: float | None = None
    length: int | None = None

    def within(self, slices: Slices, shape: Sequence[int], here: tuple[int, ...]) -> Worst:
        """Return it with what its slice is like.

        Args:
            slices: Of the piece.
            shape: Of the piece.
            here: The element, in the piece.
        """

        def at(values: Tensor) -> float:
            return float(values.expand(shape)[here])

        return replace(
            self, condition=at(slices.condition), magnitude=at(slices.magnitude),
            eps_share=at(slices.eps_share), length=slices.length,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor under one rounding policy.

    Attributes:
        judged: Elements with a finite budget that can tell right from wrong.
        violations: Judged elements outside the accepted values.
        worst: The judged element with the largest ratio, None where nothing was judged.
        laundered: Slices whose input is not finite but whose output is.
        nonfinite: Judged elements that came out NaN or infinite where a finite value is accepted.
    """

    judged: int = 0
    violations: int = 0
    worst: Worst | None = None
    laundered: int = 0
    nonfinite: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        ranked = [w for w in (self.worst, other.worst) if w is not None]
        return Comparison(
            self.judged + other.judged,
            self.violations + other.violations,
            max(ranked, key=_rank, default=None),
            self.laundered + other.laundered,
            self.nonfinite + other.nonfinite,
        )

    @property
    def ratio(self) -> float:
        """Largest error over budget; 0 where nothing was judged."""
        return 0.0 if self.worst is None else self.worst.ratio


def _rank(worst: Worst) -> tuple[float, tuple[int, ...]]:
    """The larger ratio, and of equal ones the earlier place, whatever the pieces were."""
    return worst.ratio, tuple(-index for index in worst.index)


def unravelled(position: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the index of an element from its place in row-major order.

    ``torch.unravel_index`` says the same, at ten times the cost of the comparison around it.
    """
    index: list[int] = []
    for size in reversed(shape):
        position, along = divmod(position, size)
        index.append(along)
    return tuple(reversed(index))


def compare(
    computed: Tensor,
    exact: Tensor | DoubleDouble,
    accepted: Interval,
    judged: Tensor,
    fmt: FloatFormat,
    slices: Slices | None = None,
    piece: Piece | None = None,
) -> Comparison:
    """Compare one piece of one tensor.

    Args:
        computed: Any shape, float64.
        exact: Same shape.
        accepted: Same shape.
        judged: Broadcastable to it, bool: which elements count.
        fmt: The output format, for the error in ulps.
        slices: What to tell with the worst element; None where it belongs to no slice.
        piece: Where the piece lies, to report an index into the whole view.
    """
    ratio = error_ratio(computed, exact, accepted, fmt)
    value64 = exact.double() if isinstance(exact, DoubleDouble) else exact
    judged = judged.expand(ratio.shape) & value64.isfinite()
    ratio = torch.where(judged, ratio, -1.0)
    count = int(judged.sum())
    if count == 0:
        return Comparison()
    position = int(ratio.argmax())
    here = unravelled(position, ratio.shape)
    index = list(here)
    reference = float(value64.reshape(-1)[position])
    value = float(computed.reshape(-1)[position])
    if piece is not None and index:
        index[piece.axis] += piece.start
    worst = Worst(
        ratio=float(ratio.reshape(-1)[position]),
        index=tuple(index),
        computed=value,
        reference=reference,
        lower=float(accepted.lower.reshape(-1)[position]),
        upper=float(accepted.upper.reshape(-1)[position]),
        ulps=(value - reference) / spacing(reference, fmt),
        condition=1.0,
    )
    if slices is not None:
        worst = worst.within(slices, ratio.shape, here)
    violations = int((ratio > 1.0).sum())
    nonfinite = int((ratio >= RATIO_CAP).sum()) if violations else 0
    return Comparison(count, violations, worst, nonfinite=nonfinite)
