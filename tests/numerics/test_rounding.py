"""normcheck.numerics.rounding against exact rationals and bit patterns."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.rounding import round_sum, round_to

FLOAT16, BFLOAT16, FLOAT32, FLOAT64 = (FloatFormat.of(dtype) for dtype in BY_NAME.values())
HALVES = pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])

formats = st.sampled_from([FLOAT16, BFLOAT16, FLOAT32, FLOAT64])
narrow_formats = st.sampled_from([FLOAT16, BFLOAT16, FLOAT32])
finite = st.floats(allow_nan=False, allow_infinity=False)


def nearest(x: Fraction, fmt: FloatFormat) -> float:
    """Round half to even on the grid of ``fmt``: `round` of a Fraction does just that."""
    if x == 0:
        return 0.0
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    spacing = Fraction(2) ** (max(exponent, fmt.min_exponent) - (fmt.precision - 1))
    rounded = round(x / spacing) * spacing
    if abs(rounded) > (2 - Fraction(2) ** (1 - fmt.precision)) * Fraction(2) ** fmt.max_exponent:
        return math.inf if rounded > 0 else -math.inf
    return float(rounded)


def rounded(x: float, fmt: FloatFormat) -> float:
    return round_to(torch.tensor(x, dtype=torch.float64), fmt).item()


def all_patterns(fmt: FloatFormat) -> torch.Tensor:
    return torch.arange(1 << 16).to(torch.int16).view(fmt.dtype).double()


def neighbours(fmt: FloatFormat) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return all non-negative numbers but the last, their successors, and the even of the two."""
    last = int(torch.tensor(math.inf, dtype=fmt.dtype).view(torch.int16)) - 1
    values = torch.arange(last + 1, dtype=torch.int16).view(fmt.dtype).double()
    lower, upper = values[:-1], values[1:]
    return lower, upper, torch.where(torch.arange(last) % 2 == 0, lower, upper)


@st.composite
def near_ties(draw: st.DrawFn) -> tuple[float, FloatFormat]:
    """Draw a point at, or a few float64 ulps from, the middle of two neighbours of a format."""
    fmt = draw(narrow_formats)
    significand = draw(st.integers(0, 2**fmt.precision - 1))
    scale = draw(st.integers(fmt.min_exponent, fmt.max_exponent)) - (fmt.precision - 1)
    x = math.ldexp(significand + 0.5, scale)
    for _ in range(draw(st.integers(0, 3))):
        x = math.nextafter(x, draw(st.sampled_from([-math.inf, math.inf])))
    return draw(st.sampled_from([-x, x])), fmt


@settings(deadline=None)
@given(x=finite, fmt=formats)
@example(x=1 + 2**-8 + 2**-40, fmt=BFLOAT16)  # torch's own conversion rounds this twice
@example(x=1 + 2**-11 + 2**-40, fmt=FLOAT16)
@example(x=2.0**-25, fmt=FLOAT16)
@example(x=math.nextafter(2.0**-25, 1.0), fmt=FLOAT16)
@example(x=2.0**-134, fmt=BFLOAT16)
@example(x=2.0**-14 - 2.0**-26, fmt=FLOAT16)
@example(x=65520.0, fmt=FLOAT16)
@example(x=math.nextafter(65520.0, 0.0), fmt=FLOAT16)
@example(x=-math.ldexp(2.0 - 2.0**-8, 127), fmt=BFLOAT16)
@example(x=math.ldexp(2.0 - 2.0**-24, 127), fmt=FLOAT32)
@example(x=math.nextafter(math.ldexp(2.0 - 2.0**-24, 127), 0.0), fmt=FLOAT32)
@example(x=1.7976931348623157e308, fmt=BFLOAT16)
@example(x=5e-324, fmt=FLOAT16)
def test_float64_is_rounded_once_to_the_nearest_even(x: float, fmt: FloatFormat) -> None:
    assert rounded(x, fmt) == nearest(Fraction(x), fmt)


@settings(deadline=None, max_examples=500)
@given(bits=st.integers(0, 2**64 - 1), fmt=formats)
def test_every_float64_pattern_is_rounded_correctly(bits: int, fmt: FloatFormat) -> None:
    x = torch.tensor(bits - 2**63, dtype=torch.int64).view(torch.float64).item()
    if math.isfinite(x):
        assert rounded(x, fmt) == nearest(Fraction(x), fmt)
    else:
        assert math.isnan(x) == math.isnan(rounded(x, fmt))


@settings(deadline=None, max_examples=500)
@given(near_ties())
def test_ties_and_near_ties_are_rounded_correctly(case: tuple[float, FloatFormat]) -> None:
    x, fmt = case
    assert rounded(x, fmt) == nearest(Fraction(x), fmt)


@HALVES
def test_every_number_of_the_format_is_a_fixed_point(fmt: FloatFormat) -> None:
    values = all_patterns(fmt)
    torch.testing.assert_close(round_to(values, fmt), values, rtol=0, atol=0, equal_nan=True)


@HALVES
def test_every_midpoint_goes_to_the_even_neighbour(fmt: FloatFormat) -> None:
    lower, upper, even = neighbours(fmt)
    middle = (lower + upper) / 2
    assert torch.equal(round_to(middle, fmt), even)
    assert torch.equal(round_to(-middle, fmt), -even)


@HALVES
def test_one_float64_ulp_beside_a_midpoint_decides(fmt: FloatFormat) -> None:
    lower, upper, _ = neighbours(fmt)
    middle = (lower + upper) / 2
    assert torch.equal(round_to(torch.nextafter(middle, lower), fmt), lower)
    assert torch.equal(round_to(torch.nextafter(middle, upper), fmt), upper)


@pytest.mark.parametrize(
    ("fmt", "threshold"),
    [  # Halfway from the largest number to the power of two above it.
        pytest.param(FLOAT16, 65520.0, id="float16"),
        pytest.param(BFLOAT16, math.ldexp(2.0 - 2.0**-8, 127), id="bfloat16"),
        pytest.param(FLOAT32, math.ldexp(2.0 - 2.0**-24, 127), id="float32"),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["positive", "negative"])
def test_overflow_starts_at_the_tie(fmt: FloatFormat, threshold: float, sign: float) -> None:
    assert rounded(sign * threshold, fmt) == sign * math.inf
    assert rounded(sign * math.nextafter(threshold, 0.0), fmt) == sign * fmt.largest


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16, FLOAT32, FLOAT64], ids=list(BY_NAME))
def test_nan_and_infinities_stay_what_they_are(fmt: FloatFormat) -> None:
    special = round_to(torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64), fmt)
    assert special[0].isnan()
    assert special[1:].tolist() == [math.inf, -math.inf]


@HALVES
def test_strided_input_is_rounded_in_place_order(fmt: FloatFormat) -> None:
    x = torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(4, 6).T
    expected = [[nearest(Fraction(value), fmt) for value in row] for row in x.tolist()]
    assert round_to(x, fmt).tolist() == expected


@settings(deadline=None)
@given(hi=st.floats(-1e6, 1e6), share=st.floats(-1.0, 1.0))
def test_an_unevaluated_sum_is_rounded_as_its_float64_value(hi: float, share: float) -> None:
    lo = share * math.ulp(hi) / 2
    exact = Fraction(hi) + Fraction(lo)
    first, second = torch.tensor([hi, lo], dtype=torch.float64)
    assert round_sum(first, second, FLOAT64).item() == nearest(exact, FLOAT64)


def test_wrong_dtype_is_named() -> None:
    with pytest.raises(TypeError, match=r"^x has dtype torch\.float32, but references are kept"):
        round_to(torch.ones(2), BFLOAT16)
