"""normcheck.numerics.formats against the published tables and bit patterns."""

import pytest
import torch

from normcheck.numerics.formats import BY_NAME, FloatFormat

FORMATS = [FloatFormat.of(dtype) for dtype in BY_NAME.values()]

formats = pytest.mark.parametrize("fmt", FORMATS, ids=list(BY_NAME))


def from_bits(bits: int, fmt: FloatFormat) -> float:
    storage = {2: torch.int16, 4: torch.int32, 8: torch.int64}[fmt.dtype.itemsize]
    return torch.tensor(bits, dtype=storage).view(fmt.dtype).item()


def first_infinite(fmt: FloatFormat) -> int:
    exponent_bits = 8 * fmt.dtype.itemsize - fmt.precision
    return ((1 << exponent_bits) - 1) << (fmt.precision - 1)


@pytest.mark.parametrize(
    ("dtype", "published"),
    [  # IEEE 754-2019, table 3.5; bfloat16 has the exponents of binary32.
        pytest.param(torch.float16, (11, -14, 15), id="float16"),
        pytest.param(torch.bfloat16, (8, -126, 127), id="bfloat16"),
        pytest.param(torch.float32, (24, -126, 127), id="float32"),
        pytest.param(torch.float64, (53, -1022, 1023), id="float64"),
    ],
)
def test_parameters_are_the_published_ones(
    dtype: torch.dtype, published: tuple[int, int, int]
) -> None:
    fmt = FloatFormat.of(dtype)
    assert (fmt.precision, fmt.min_exponent, fmt.max_exponent) == published


@formats
def test_smallest_subnormal_is_the_first_bit_pattern(fmt: FloatFormat) -> None:
    assert fmt.smallest_subnormal == from_bits(1, fmt)


@formats
def test_smallest_normal_is_the_first_pattern_with_an_exponent(fmt: FloatFormat) -> None:
    assert fmt.smallest_normal == from_bits(1 << (fmt.precision - 1), fmt)


@formats
def test_largest_is_the_pattern_below_infinity(fmt: FloatFormat) -> None:
    assert from_bits(first_infinite(fmt), fmt) == float("inf")
    assert fmt.largest == from_bits(first_infinite(fmt) - 1, fmt)


@formats
def test_unit_roundoff_is_half_the_distance_from_one_to_its_successor(fmt: FloatFormat) -> None:
    one = fmt.max_exponent << (fmt.precision - 1)
    assert from_bits(one, fmt) == 1.0
    assert 2.0 * fmt.unit_roundoff == from_bits(one + 1, fmt) - 1.0


@formats
def test_only_float64_is_accumulated_in_float64(fmt: FloatFormat) -> None:
    wide = torch.float64 if fmt.dtype == torch.float64 else torch.float32
    assert fmt.accumulation.dtype == wide


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str
)
def test_unsupported_format_is_named(dtype: torch.dtype) -> None:
    rule = r"must be one of float16, bfloat16, float32, float64"
    with pytest.raises(ValueError, match=rf"^dtype is {dtype}, but {rule}$"):
        FloatFormat.of(dtype)
