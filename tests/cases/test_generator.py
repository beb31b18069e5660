"""normcheck.cases.generator against unbounded integers, and against the moments it promises."""

import math
import zlib

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from normcheck.cases.generator import hashes, key_of, normals

SIZE = 1 << 16
CENTRE = 4 * 65535 / 2
# Four independent uniform numbers in 0..65535.
SPREAD = math.sqrt(4 * (65536**2 - 1) / 12)
LARGEST = CENTRE / 37837.2


def hashed(counter: int, key: int) -> int:
    """The documented hash in Python's integers."""
    z = (counter + key) % 2**32
    for salt in (0, key % 2**32):
        z = (z ^ (z >> 16) ^ salt) * 0x45D9F3B % 2**32
        z = (z ^ (z >> 15)) * 0x45D9F3B % 2**32
    return z ^ (z >> 16)


@settings(deadline=None)
@given(key=st.integers(0, 2**32 - 1), count=st.integers(0, 50))
@example(key=2**32 - 3, count=9)
@example(key=0, count=1)
def test_hashes_are_those_of_unbounded_integers(key: int, count: int) -> None:
    assert hashes(count, key).tolist() == [hashed(i, key) for i in range(count)]


@settings(deadline=None)
@given(key=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_bell_shaped_values_are_sums_of_four_halves_of_two_hashes(key: int, count: int) -> None:
    for i, value in enumerate(normals(count, key).tolist()):
        words = (hashed(i, key), hashed(i, key ^ 0x5BD1E995))
        total = sum((word & 0xFFFF) + (word >> 16) for word in words)
        assert value == (total - 131070.0) / 37837.2


def test_a_key_is_the_checksum_of_its_path() -> None:
    assert key_of("x", 7) == zlib.crc32(b"x/7")
    assert (
        len({key_of(name, seed) for name in ("x", "dy", "weight") for seed in range(999)}) == 2997
    )


def test_the_constants_are_the_moments_of_the_sum() -> None:
    assert abs(SPREAD - 37837.2) < 0.05
    assert normals(SIZE, 1).abs().max() <= LARGEST < 3.4642


@pytest.mark.parametrize("key", [0, 1, 12345, 2**32 - 1])
def test_mean_and_variance_are_those_of_a_unit_bell(key: int) -> None:
    z = normals(SIZE, key)
    # Six standard errors; the fourth moment of four uniform numbers is 3 - 6/5/4 = 2.7.
    assert abs(z.mean()) <= 6 / math.sqrt(SIZE)
    assert abs(z.square().mean() - 1) <= 6 * math.sqrt((2.7 - 1) / SIZE)


@pytest.mark.parametrize("shift", [1, 2, 64, 4097])
def test_neighbours_and_overlapping_streams_are_uncorrelated(shift: int) -> None:
    z, other = normals(SIZE + shift, 5), normals(SIZE, 5 + shift)
    assert abs((z[:SIZE] * z[shift:]).mean()) <= 6 / math.sqrt(SIZE)
    assert abs((z[shift:] * other).mean()) <= 6 / math.sqrt(SIZE)


def test_every_bit_of_a_hash_is_set_half_of_the_time() -> None:
    bits = (hashes(SIZE, 99).unsqueeze(1) >> torch.arange(32)) & 1
    share = bits.double().mean(0)
    assert (share - 0.5).abs().max() <= 6 * 0.5 / math.sqrt(SIZE)
