"""What one tensor looked like against its budget: counts, and the worst element with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.numerics.acceptance import RATIO_CAP, Interval, error_ratio
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import Piece
from normcheck.numerics.ulp import spacing

__all__ = ["Comparison", "Worst", "compare", "unravelled"]


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
    """

    ratio: float
    index: tuple[int, ...]
    computed: float
    reference: float
    lower: float
    upper: float
    ulps: float
    condition: float


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
    condition: Tensor | None = None,
    piece: Piece | None = None,
) -> Comparison:
    """Compare one piece of one tensor.

    Args:
        computed: Any shape, float64.
        exact: Same shape.
        accepted: Same shape.
        judged: Broadcastable to it, bool: which elements count.
        fmt: The output format, for the error in ulps.
        condition: Broadcastable to it: condition numbers to report with the worst element.
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
    index = list(unravelled(position, ratio.shape))
    reference = float(value64.reshape(-1)[position])
    value = float(computed.reshape(-1)[position])
    kappa = 1.0
    if condition is not None:
        kappa = float(condition.expand(ratio.shape)[tuple(index)])
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
        condition=kappa,
    )
    violations = int((ratio > 1.0).sum())
    nonfinite = int((ratio >= RATIO_CAP).sum()) if violations else 0
    return Comparison(count, violations, worst, nonfinite=nonfinite)
