"""How far a target stays within budget: the largest condition, magnitudes, and the longest slice.

Information, not a verdict: almost every kernel that ships overflows where squares do. Along each
axis the first failure is found on a coarse grid, and then narrowed down by bisection of exponents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from normcheck.cases.case import Case
from normcheck.cases.materialise import ELEMENT_CEILING, materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.errors import UsageError
from normcheck.execution.in_process import InProcess
from normcheck.execution.stopwatch import threads
from normcheck.execution.way import Way
from normcheck.numerics.acceptance import RATIO_CAP
from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.judge import judge
from normcheck.ops.op import Family, Settings
from normcheck.plan import Plan
from normcheck.record import Limit, Point

__all__ = ["envelope"]

_BISECTIONS = 5


@dataclass(frozen=True, slots=True)
class _Axis:
    """One direction to go in.

    Attributes:
        name: As in the record.
        values: From harmless to extreme.
        case: A value to the case that has it.
        everywhere: Whether cases beyond the range of squares count, which no verdict does.
    """

    name: str
    values: tuple[float, ...]
    case: Callable[[float], Case]
    everywhere: bool = False


def envelope(plan: Plan, executor: InProcess, longest: int = 1 << 20) -> list[Limit]:
    """Return the limits of a target, for the widest of the run's dtypes up to float32.

    Args:
        plan: The run.
        executor: Calls the target.
        longest: Most elements of one slice that are tried.
    """
    dtype = "float32" if "float32" in plan.dtypes else plan.dtypes[-1]
    if dtype not in plan.here:
        return []
    return [_limit(plan, executor, axis, dtype) for axis in _axes(plan, dtype, longest)]


def _axes(plan: Plan, dtype: str, longest: int) -> Iterator[_Axis]:
    op = plan.adapter.op
    rows = op.family is Family.ROWS
    largest = math.log10(FloatFormat.of(BY_NAME[dtype]).largest)
    takes_eps = "eps" not in plan.adapter.binding.missing
    tiny = 0.0 if takes_eps and op.eps_place == "inside" else None

    groups = 2 if op.parameter("num_groups") else 1

    def case(regime: str, count: int = 256, eps: float | None = None, slices: int = 4) -> Case:
        shape = (slices, count) if rows else (1, slices, count)
        return Case(op.name, dtype, op.shaped(shape) or shape, regime, groups=groups, eps=eps)

    if op.reduce(case("plain").shape, Settings(1, groups)).centred:
        yield _Axis("condition", tuple(10.0**k for k in range(8)), lambda v: case(f"offset{v:g}"))
    magnitudes = [k for k in range(0, 40, 4) if k < largest - 1] + [largest - 1]
    yield _Axis("largest", tuple(10.0**k for k in magnitudes), lambda v: case(f"scale{v:g}"), True)
    yield _Axis(
        "smallest",
        tuple(10.0**-k for k in magnitudes),
        lambda v: case(f"scale{v:g}", eps=tiny),
        True,
    )
    lengths = tuple(float(4**k) for k in range(2, 12) if 4**k <= longest)
    yield _Axis("length", lengths, lambda v: case("positive", int(v), slices=groups))


def _limit(plan: Plan, executor: InProcess, axis: _Axis, dtype: str) -> Limit:
    curve: dict[float, float] = {}

    def holds(value: float) -> bool | None:
        """Whether a value is within budget; None where it cannot be judged, or is refused."""
        ratio = _ratio(plan, executor, axis.case(value), everywhere=axis.everywhere)
        if ratio is not None:
            curve[value] = ratio
        return None if ratio is None else ratio <= 1.0

    within, beyond = None, None
    for value in axis.values:
        answer = holds(value)
        if answer is None:
            break
        if not answer:
            beyond = value
            break
        within = value
    for _ in range(_BISECTIONS):
        if within is None or beyond is None:
            break
        middle = 2.0 ** ((math.log2(within) + math.log2(beyond)) / 2)
        middle = float(round(middle)) if axis.name == "length" else float(f"{middle:.3g}")
        if middle in curve:
            break
        if holds(middle):
            within = middle
        else:
            beyond = middle
    points = [Point(value=value, ratio=curve[value]) for value in sorted(curve)]
    return Limit(axis=axis.name, dtype=dtype, within=within, beyond=beyond, curve=points)


def _ratio(plan: Plan, executor: InProcess, case: Case, *, everywhere: bool) -> float | None:
    """Return the worst error over budget of one case's output; None where nothing is judged."""
    fitting = plan.adapter.conform(case)
    if plan.is_fatal(fitting.id):
        return None
    if fitting.regime != case.regime or case.elements > ELEMENT_CEILING:
        return None
    try:
        inputs = materialise(fitting)
    except UsageError:
        return None
    observed = executor.call(inputs, Way())
    if observed.raised is not None or observed.outputs["y"].shape != inputs.tensors["x"].shape:
        return None
    problem = replace(pose(inputs, plan.policy), everywhere=everywhere)
    with threads(1):
        found = judge(problem, observed_of(inputs, observed.outputs, {}, {}))
    offered: list[Comparison] = list(found.get("y", {}).values())
    ratios = [c.ratio for c in offered if c.judged]
    return min(RATIO_CAP, min(ratios)) if ratios else None
