"""normcheck.numerics.acceptance against rounding cells in exact rationals."""

import json
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from normcheck.numerics.acceptance import (
    RATIO_CAP,
    Interval,
    around,
    error_ratio,
    rounded_product,
    rounded_sum,
)
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import BY_NAME, FloatFormat

FLOAT16, BFLOAT16, FLOAT32, FLOAT64 = (FloatFormat.of(dtype) for dtype in BY_NAME.values())
HALVES = {"float16": FLOAT16, "bfloat16": BFLOAT16}
REACH = 12  # candidates on either side of the exact result

halves = st.sampled_from([FLOAT16, BFLOAT16])


def tensor(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def positive_numbers(fmt: FloatFormat) -> list[float]:
    """Return all finite non-negative numbers of a half-precision format, in order."""
    infinity = int(torch.tensor(math.inf, dtype=fmt.dtype).view(torch.int16))
    numbers: list[float] = torch.arange(infinity, dtype=torch.int16).view(fmt.dtype).tolist()
    return numbers


NUMBERS = {fmt.dtype: positive_numbers(fmt) for fmt in HALVES.values()}


def cell(index: int, fmt: FloatFormat) -> tuple[Fraction, Fraction, bool]:
    """Return the reals that round to number ``index``, and whether the ends belong to them.

    An ``index`` of the count of numbers stands for infinity; negative indices for negative ones.
    """
    numbers = NUMBERS[fmt.dtype]

    def at(i: int) -> Fraction:
        beyond = 2 * Fraction(numbers[-1]) - Fraction(numbers[-2])
        size = beyond if abs(i) >= len(numbers) else Fraction(numbers[abs(i)])
        return size if i >= 0 else -size

    lower, upper = (at(index - 1) + at(index)) / 2, (at(index) + at(index + 1)) / 2
    if index >= len(numbers):
        upper = Fraction(10) ** 400
    return lower, upper, index % 2 == 0


def meets(index: int, low: Fraction, high: Fraction, fmt: FloatFormat) -> bool:
    lower, upper, closed = cell(index, fmt)
    return (lower <= high and low <= upper) if closed else (lower < high and low < upper)


def value_at(index: int, fmt: FloatFormat) -> float:
    numbers = NUMBERS[fmt.dtype]
    size = math.inf if abs(index) >= len(numbers) else numbers[abs(index)]
    return math.copysign(size, index)


@st.composite
def exact_results(draw: st.DrawFn) -> tuple[FloatFormat, int, Fraction, Fraction]:
    """Draw y and delta, multiples of 1/16 spacing: float64 holds y +- delta exactly."""
    fmt = draw(halves)
    count = len(NUMBERS[fmt.dtype])
    index = draw(st.integers(0, count - 2) | st.integers(0, 20) | st.integers(count - 9, count - 2))
    here, above = (Fraction(NUMBERS[fmt.dtype][i]) for i in (index, index + 1))
    y = here + draw(st.integers(0, 16)) * (above - here) / 16
    delta = draw(st.integers(0, 16) | st.integers(0, 80)) * (above - here) / 16
    return fmt, index, y, delta


@settings(deadline=None, max_examples=150)
@given(exact_results())
@example((BFLOAT16, 0x3F80, Fraction(1) + Fraction(1, 256), Fraction(0)))
@example((FLOAT16, 0x7BFE, Fraction(65519), Fraction(1)))
def test_accepted_are_the_roundings_of_the_reals_in_the_interval(
    case: tuple[FloatFormat, int, Fraction, Fraction],
) -> None:
    fmt, index, y, delta = case
    accepted = around(tensor(float(y)), tensor(float(delta)), fmt)
    candidates = range(index - REACH, min(index + REACH, len(NUMBERS[fmt.dtype])) + 1)
    for candidate in candidates:
        expected = meets(candidate, y - delta, y + delta, fmt)
        computed = tensor(value_at(candidate, fmt))
        assert (accepted.lower <= computed <= accepted.upper) == expected, value_at(candidate, fmt)
        ratio = error_ratio(computed, tensor(float(y)), accepted, fmt).item()
        assert (ratio <= 1.0) == expected, (ratio, value_at(candidate, fmt))


@pytest.mark.parametrize("fmt", HALVES.values(), ids=HALVES)
def test_without_a_budget_one_number_or_a_tie_is_accepted(fmt: FloatFormat) -> None:
    y = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    accepted = around(y, torch.zeros_like(y), fmt)
    assert torch.equal(accepted.lower, accepted.upper)


@settings(deadline=None)
@given(
    y=st.floats(-1e300, 1e300),
    delta=st.floats(0, 1e300),
    fmt=st.sampled_from([FLOAT16, BFLOAT16, FLOAT32, FLOAT64]),
)
def test_nan_is_never_accepted(y: float, delta: float, fmt: FloatFormat) -> None:
    accepted = around(tensor(y), tensor(delta), fmt)
    assert error_ratio(tensor(math.nan), tensor(y), accepted, fmt).item() == RATIO_CAP


@pytest.mark.parametrize(
    ("y", "delta", "computed", "is_accepted"),
    [
        pytest.param(65519.0, 1.0, math.inf, True, id="the-upper-end-overflows"),
        pytest.param(65519.0, 0.5, math.inf, False, id="the-upper-end-does-not"),
        pytest.param(65519.0, 1.0, 65504.0, True, id="largest-where-the-lower-end-is-finite"),
        pytest.param(65530.0, 5.0, 65504.0, False, id="largest-where-all-overflow"),
        pytest.param(-65519.0, 1.0, -math.inf, True, id="the-lower-end-overflows"),
        pytest.param(-65519.0, 1.0, math.inf, False, id="wrong-sign"),
        pytest.param(1.0, 0.5, math.inf, False, id="far-from-overflow"),
        pytest.param(1e300, 0.0, math.inf, True, id="far-beyond"),
    ],
)
def test_infinity_is_accepted_only_where_an_end_overflows(
    y: float, delta: float, computed: float, is_accepted: bool
) -> None:
    accepted = around(tensor(y), tensor(delta), FLOAT16)
    ratio = error_ratio(tensor(computed), tensor(y), accepted, FLOAT16).item()
    assert (ratio <= 1.0) == is_accepted


@settings(deadline=None)
@given(
    y=st.floats(-1e6, 1e6),
    delta=st.floats(0, 1e3),
    error=st.floats(-1e4, 1e4),
    fmt=st.sampled_from([FLOAT16, BFLOAT16, FLOAT32, FLOAT64]),
)
def test_the_ratio_exceeds_one_exactly_outside(
    y: float, delta: float, error: float, fmt: FloatFormat
) -> None:
    accepted = around(tensor(y), tensor(delta), fmt)
    computed = tensor(y + error).to(fmt.dtype).double()
    inside = bool(accepted.lower <= computed <= accepted.upper)
    assert (error_ratio(computed, tensor(y), accepted, fmt).item() <= 1.0) == inside


def test_the_exact_result_rounded_once_costs_at_most_one() -> None:
    y = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    accepted = around(y, torch.full_like(y, 1e-9), FLOAT32)
    ratio = error_ratio(y.float().double(), y, accepted, FLOAT32)
    assert ratio.max() <= 1.0
    assert ratio.max() > 0.9


@pytest.mark.parametrize("computed", [math.nan, math.inf, -math.inf, 1e300, -1e38], ids=str)
@pytest.mark.parametrize("y", [0.0, 1.0, 5e-324, 65519.0], ids=str)
def test_every_ratio_fits_into_json(computed: float, y: float) -> None:
    accepted = around(tensor(y), tensor(0.0), FLOAT16)
    ratio = error_ratio(tensor(computed), tensor(y), accepted, FLOAT16).item()
    assert 1.0 < json.loads(json.dumps(ratio, allow_nan=False)) <= RATIO_CAP


@pytest.mark.parametrize("ulps", [-2, -1, 0, 1, 2], ids=str)
def test_double_double_sees_what_float64_cannot(ulps: int) -> None:
    # The exact result is 1 + 0.4 ulp, and no error at all is granted.
    exact = DoubleDouble(tensor(1.0), tensor(0.4 * 2.0**-52))
    accepted = around(exact, tensor(0.0), FLOAT64)
    ratio = error_ratio(tensor(1.0 + ulps * 2.0**-52), exact, accepted, FLOAT64).item()
    assert ratio == pytest.approx(abs(ulps - 0.4) / 0.5, rel=2.0**-40)


def test_a_product_with_a_negative_number_keeps_the_ends_in_order() -> None:
    product = rounded_product(Interval(tensor(1.0, -3.0), tensor(2.0, 5.0)), tensor(-2.0, 0.0))
    assert product.lower.tolist() == [-4.0, 0.0]
    assert product.upper.tolist() == [-2.0, 0.0]


def test_sums_widenings_and_roundings_act_on_both_ends() -> None:
    moved = rounded_sum(Interval(tensor(1.0), tensor(2.0)), tensor(0.25)).widened(tensor(0.125))
    assert (moved.lower.item(), moved.upper.item()) == (1.125, 2.375)
    rounded = Interval(tensor(1 + 2**-8), tensor(1 + 3 * 2**-8)).rounded(BFLOAT16)
    assert (rounded.lower.item(), rounded.upper.item()) == (1.0, 1 + 2**-6)
