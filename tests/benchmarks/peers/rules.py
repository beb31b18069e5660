"""Rules of comparison, named after what they allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tests.benchmarks.peers.protocol import Result, Rule

Criterion = Callable[[Tensor, Tensor], bool]

# assert_close of torch, as (rtol, atol).
DEFAULTS = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
}


def each(criteria: Mapping[str, Criterion] | Criterion) -> Rule:
    """Require every expected tensor, of the expected shape, to meet its criterion."""

    def rule(computed: Result, expected: Result) -> bool:
        for name, reference in expected.items():
            criterion = criteria[name] if isinstance(criteria, Mapping) else criteria
            found = computed.get(name)
            if found is None or found.shape != reference.shape:
                return False
            if not criterion(found, reference):
                return False
        return True

    return rule


def wide(computed: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    is_double = torch.float64 in (computed.dtype, expected.dtype)
    dtype = torch.float64 if is_double else torch.float32
    return computed.to(dtype), expected.to(dtype)


def close(
    rtol: float, atol: float, *, equal_nan: bool = False, same_dtype: bool = True
) -> Criterion:
    """|computed - expected| <= atol + rtol |expected|, for every element."""

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        if same_dtype and computed.dtype != expected.dtype:
            return False
        found, right = wide(computed, expected)
        return torch.allclose(found, right, rtol=rtol, atol=atol, equal_nan=equal_nan)

    return criterion


def default_close(dtype: torch.dtype) -> Criterion:
    rtol, atol = DEFAULTS[dtype]
    return close(rtol, atol)


def within_fraction(rtol: float, atol: float, share: float) -> Criterion:
    """SOL: finite, not all zero, and all but a share of the elements close."""

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        if computed.dtype != expected.dtype or not bool(computed.isfinite().all()):
            return False
        found, right = wide(computed, expected)
        good = (found - right).abs() <= atol + rtol * right.abs()
        return bool(found.any()) and float(good.float().mean()) >= share

    return criterion


def absolute_or_relative(atol: float, rtol: float) -> Criterion:
    """flashinfer-bench: finite, and an element is wrong only if it is so on both scales."""

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        if computed.dtype != expected.dtype or not bool(computed.isfinite().all()):
            return False
        found, right = wide(computed, expected)
        error = (found - right).abs()
        return not bool(((error > atol) & (error / (right.abs() + 1e-8) > rtol)).any())

    return criterion


def not_beyond_both(atol: float, rtol: float, dtype: torch.dtype) -> Criterion:
    """TransformerEngine's C++ tests: as above, but NaN compares as no mismatch.

    A mismatch in half precision is forgiven where both values are roundings of numbers within 1e-6
    of the midpoint between them.
    """

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        found, right = wide(computed, expected)
        error = (found - right).abs()
        wrong = (error > atol) & ((right == 0) | (error / right.abs() > rtol))
        if dtype != torch.float32:
            middle = (found + right) / 2
            low, high = (middle * (1 - 1e-6)).to(dtype), (middle * (1 + 1e-6)).to(dtype)
            ends = torch.minimum(found, right), torch.maximum(found, right)
            first, second = torch.minimum(low, high).float(), torch.maximum(low, high).float()
            wrong &= ~((first == ends[0]) & (second == ends[1]))
        return not bool(wrong.any())

    return criterion


def aggregate(limit: float) -> Criterion:
    """apex FastLN: the sum of errors over the sum of magnitudes."""

    def criterion(computed: Tensor, expected: Tensor) -> bool:
        found, right = wide(computed, expected)
        return bool((found - right).abs().sum() / right.abs().sum() < limit)

    return criterion


def unchanged(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    """Every argument is what it was; NaN never is."""
    return all(torch.equal(after[name], value) for name, value in before.items())
