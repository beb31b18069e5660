"""normcheck.numerics.double_double against exact rationals.

Bounds with u = 2**-53, from Joldes, Muller, Popescu, 2017: addition 3 u**2 + 13 u**3, product
5 u**2; long division is within a product and an addition of the last quotient, 8 u**2; a Newton
step on the float64 root within 4 u**2.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from normcheck.numerics.double_double import DoubleDouble, two_product, two_sum

UNIT = Fraction(1, 2**106)  # u**2
Pair = tuple[float, float]


def scalar(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def lift(pairs: list[Pair]) -> DoubleDouble:
    parts = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)
    return DoubleDouble(parts[:, 0], parts[:, 1])


def exact(pair: Pair) -> Fraction:
    return Fraction(pair[0]) + Fraction(pair[1])


def values(x: DoubleDouble) -> list[Fraction]:
    hi, lo = x.hi.reshape(-1).tolist(), x.lo.reshape(-1).tolist()
    return [exact(pair) for pair in zip(hi, lo, strict=True)]


@st.composite
def pairs(draw: st.DrawFn, positive: bool = False) -> Pair:
    """Draw a normalised double-double number between 2**-200 and 2**200 in size."""
    significand = draw(st.integers(2**52, 2**53 - 1))
    hi = math.ldexp(significand, draw(st.integers(-40, 40) | st.integers(-252, 147)))
    lo = draw(st.floats(-0.5, 0.5) | st.sampled_from([0.0, 0.5, -0.5])) * math.ulp(hi)
    if hi + lo != hi:
        lo = 0.0
    return (hi, lo) if positive or draw(st.booleans()) else (-hi, -lo)


@settings(deadline=None)
@given(a=st.floats(-1e100, 1e100), b=st.floats(-1e100, 1e100))
def test_two_sum_loses_nothing(a: float, b: float) -> None:
    s, e = two_sum(scalar(a), scalar(b))
    assert exact((s.item(), e.item())) == Fraction(a) + Fraction(b)
    assert s.item() == a + b


@settings(deadline=None)
@given(pairs(), pairs())
def test_two_product_loses_nothing(x: Pair, y: Pair) -> None:
    p, e = two_product(scalar(x[0]), scalar(y[0]))
    assert exact((p.item(), e.item())) == Fraction(x[0]) * Fraction(y[0])


@settings(deadline=None, max_examples=300)
@given(st.floats(0.5, 1.0), st.floats(-1.0, -0.5), st.integers(-1080, -880), st.integers(-600, 600))
@example(-1.1114431280799e-310, 0.4233536195972353, 0, 0)
def test_a_tiny_product_is_rounded_once(x: float, y: float, power: int, share: int) -> None:
    """Below 2**-969 its error has no room: what is returned is right to half the least number."""
    a, b = math.ldexp(x, power + share), math.ldexp(y, -share)
    p, e = two_product(scalar(a), scalar(b))
    missing = abs(exact((p.item(), e.item())) - Fraction(a) * Fraction(b))
    assert missing <= Fraction(1, 2**1075)


@pytest.mark.parametrize(
    ("operation", "oracle", "bound"),
    [
        pytest.param(lambda x, y: x + y, lambda x, y: x + y, 4 * UNIT, id="addition"),
        pytest.param(lambda x, y: x - y, lambda x, y: x - y, 4 * UNIT, id="subtraction"),
        pytest.param(lambda x, y: x * y, lambda x, y: x * y, 5 * UNIT, id="product"),
        pytest.param(lambda x, y: x / y, lambda x, y: x / y, 9 * UNIT, id="division"),
    ],
)
@settings(deadline=None, max_examples=300)
@given(x=pairs(), y=pairs())
@example(x=(1.0, 2.0**-54), y=(-1.0, 2.0**-54))
@example(x=(1.0, 2.0**-53), y=(1.0, 0.0))
def test_binary_operations_are_within_their_bounds(
    operation: Callable[[DoubleDouble, DoubleDouble], DoubleDouble],
    oracle: Callable[[Fraction, Fraction], Fraction],
    bound: Fraction,
    x: Pair,
    y: Pair,
) -> None:
    (computed,) = values(operation(lift([x]), lift([y])))
    reference = oracle(exact(x), exact(y))
    assert abs(computed - reference) <= bound * abs(reference)


@settings(deadline=None)
@given(x=pairs(), y=st.floats(-1e30, 1e30))
def test_numbers_and_tensors_are_taken_as_exact_operands(x: Pair, y: float) -> None:
    for other in (y, scalar(y), DoubleDouble.of(scalar(y))):
        (computed,) = values(lift([x]) - other)
        reference = exact(x) - Fraction(y)
        assert abs(computed - reference) <= 4 * UNIT * abs(reference)


@settings(deadline=None)
@given(x=pairs(positive=True))
def test_the_square_root_is_within_its_bound(x: Pair) -> None:
    (computed,) = values(lift([x]).sqrt())
    # (1 - e)**2 x <= root**2 <= (1 + e)**2 x needs no root of a rational.
    e = 4 * UNIT
    assert (1 - e) ** 2 * exact(x) <= computed**2 <= (1 + e) ** 2 * exact(x)


def test_the_square_root_of_zero_is_zero() -> None:
    assert values(DoubleDouble.of(torch.zeros(2, dtype=torch.float64)).sqrt()) == [0, 0]


@settings(deadline=None)
@given(x=pairs())
def test_the_reciprocal_is_within_its_bound(x: Pair) -> None:
    (computed,) = values(lift([x]).reciprocal())
    assert abs(computed * exact(x) - 1) <= 9 * UNIT


@settings(deadline=None)
@given(x=pairs())
@example(x=(-1.0, 2.0**-54))
def test_negation_and_absolute_value_are_exact(x: Pair) -> None:
    assert values(-lift([x])) == [-exact(x)]
    assert values(lift([x]).abs()) == [abs(exact(x))]


@settings(deadline=None)
@given(x=pairs(), least=st.floats(-1e30, 1e30))
@example(x=(1.0, 2.0**-54), least=1.0)
@example(x=(1.0, -(2.0**-54)), least=1.0)
def test_clamping_is_exact(x: Pair, least: float) -> None:
    assert values(lift([x]).clamp_min(least)) == [max(exact(x), Fraction(least))]


@settings(deadline=None)
@given(x=pairs())
def test_conversion_to_float64_rounds_to_nearest(x: Pair) -> None:
    assert lift([x]).double().item() == float(exact(x))


@settings(deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=40))
@example([(1e16, 0.0), (1.0, 0.0), (-1e16, 0.0)])
@example([(2.0**150, 0.0), (1.0, 0.0), (2.0**-150, 0.0), (-(2.0**150), 0.0)])
def test_a_sum_is_within_its_depth_times_the_bound_of_an_addition(terms: list[Pair]) -> None:
    (computed,) = values(lift(terms).sum(dim=(0,)))
    depth = (len(terms) - 1).bit_length()
    magnitude = sum(abs(exact(term)) for term in terms)
    assert abs(computed - sum(map(exact, terms))) <= 4 * depth * UNIT * magnitude


SHAPES = [
    pytest.param((3, 5), (1,), id="odd-row"),
    pytest.param((3, 5), (0,), id="columns"),
    pytest.param((2, 3, 7), (0, 2), id="around-the-channel"),
    pytest.param((2, 3, 2, 5), (2, 3), id="group"),
    pytest.param((4, 1), (1,), id="one-term"),
    pytest.param((3, 4), (), id="over-nothing"),
    pytest.param((3, 4), (0, 1), id="over-everything"),
    pytest.param((0, 4), (1,), id="no-rows"),
]


@pytest.mark.parametrize("keepdim", [True, False], ids=["kept", "dropped"])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_sums_of_integers_are_exact_over_any_axes(
    shape: tuple[int, ...], dim: tuple[int, ...], keepdim: bool
) -> None:
    x = (torch.arange(math.prod(shape)) - 7).double().reshape(shape)
    total = DoubleDouble.of(x).sum(dim=dim, keepdim=keepdim)
    expected = x.sum(dim, keepdim=keepdim) if dim else x
    assert torch.equal(total.hi, expected)
    assert torch.equal(total.lo, torch.zeros_like(expected))


@pytest.mark.parametrize("keepdim", [True, False], ids=["kept", "dropped"])
def test_an_empty_sum_is_zero(keepdim: bool) -> None:
    total = DoubleDouble.of(torch.ones(3, 0, dtype=torch.float64)).sum(dim=(1,), keepdim=keepdim)
    assert total.hi.shape == ((3, 1) if keepdim else (3,))
    assert values(total) == [0, 0, 0]


def test_both_parts_are_reshaped() -> None:
    x = lift([(1.0, 2.0**-60), (2.0, 0.0)]).reshape(2, 1)
    assert x.hi.tolist() == [[1.0], [2.0]]
    assert x.lo.tolist() == [[2.0**-60], [0.0]]
