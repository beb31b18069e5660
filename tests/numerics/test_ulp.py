"""normcheck.numerics.ulp against bit patterns, NumPy and the definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.ulp import ulp

FLOAT16, BFLOAT16, FLOAT32, FLOAT64 = (FloatFormat.of(dtype) for dtype in BY_NAME.values())
STORAGE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
LARGEST = float(np.finfo(np.float64).max)
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)

formats = st.sampled_from([FLOAT16, BFLOAT16, FLOAT32, FLOAT64])
narrow_formats = st.sampled_from([FLOAT16, BFLOAT16, FLOAT32])
finite = st.floats(allow_nan=False, allow_infinity=False)


def scalar(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def from_bits(bits: int, fmt: FloatFormat) -> torch.Tensor:
    return torch.tensor(bits, dtype=STORAGE[fmt.dtype.itemsize]).view(fmt.dtype).double()


@settings(deadline=None)
@given(fmt=formats, data=st.data())
def test_consecutive_bit_patterns_are_one_ulp_apart(fmt: FloatFormat, data: st.DataObject) -> None:
    exponent_bits = 8 * fmt.dtype.itemsize - fmt.precision
    first_infinite = (2**exponent_bits - 1) << (fmt.precision - 1)
    bits = data.draw(st.integers(0, first_infinite - 2), label="bits")

    lower, upper = from_bits(bits, fmt), from_bits(bits + 1, fmt)

    assert upper - lower == ulp(lower, fmt)


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
def test_all_consecutive_half_precision_numbers_are_one_ulp_apart(fmt: FloatFormat) -> None:
    infinity = int(torch.tensor(math.inf, dtype=fmt.dtype).view(torch.int16))
    values = torch.arange(infinity, dtype=torch.int16).view(fmt.dtype).double()
    assert torch.equal(values[1:] - values[:-1], ulp(values[:-1], fmt))


@settings(deadline=None)
@given(x=finite.filter(lambda x: abs(x) < LARGEST))  # np.spacing overflows at the largest
@example(x=0.0)
@example(x=-5e-324)
@example(x=1e-300)
def test_float64_agrees_with_numpy_spacing(x: float) -> None:
    assert ulp(scalar(x), FLOAT64).item() == np.spacing(abs(x))


@settings(deadline=None)
@given(x=st.floats(-LARGEST_FLOAT32, LARGEST_FLOAT32, width=32, exclude_min=True, exclude_max=True))
@example(x=0.0)
@example(x=-(2.0**-149))
def test_float32_agrees_with_numpy_spacing(x: float) -> None:
    assert ulp(scalar(x), FLOAT32).item() == np.spacing(np.float32(abs(x)))


@settings(deadline=None)
@given(fmt=narrow_formats, x=st.floats(min_value=2.0**200, max_value=2.0**1000))
def test_spacing_is_constant_beyond_the_largest_finite_number(fmt: FloatFormat, x: float) -> None:
    assert ulp(scalar(x), fmt) == ulp(scalar(torch.finfo(fmt.dtype).max), fmt)


@settings(deadline=None)
@given(fmt=formats, share=st.floats(0.0, 1.0, exclude_max=True))
def test_spacing_is_constant_below_the_smallest_normal_number(
    fmt: FloatFormat, share: float
) -> None:
    x = share * math.ldexp(1.0, fmt.min_exponent)
    smallest = math.ldexp(1.0, fmt.min_exponent - fmt.precision + 1)
    assert ulp(scalar(x), fmt).item() == ulp(scalar(-x), fmt).item() == smallest


@settings(deadline=None)
@given(x=st.floats(-65504.0, 65504.0, width=32), fmt=narrow_formats)
def test_rounding_to_nearest_costs_at_most_half_an_ulp(x: float, fmt: FloatFormat) -> None:
    rounded = torch.tensor(x, dtype=torch.float32).to(fmt.dtype).double()
    assert (rounded - x).abs() <= 0.5 * ulp(scalar(x), fmt)


def test_shape_is_kept() -> None:
    assert ulp(torch.ones(2, 0, 3, dtype=torch.float64), BFLOAT16).shape == (2, 0, 3)


def test_wrong_dtype_is_named() -> None:
    with pytest.raises(TypeError, match=r"^x has dtype torch\.float32, but references are kept"):
        ulp(torch.ones(2), BFLOAT16)
