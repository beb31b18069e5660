"""Regimes: named families of values for one slice, and the mixes that pack many into one tensor.

A regime turns bell-shaped values into what breaks kernels, with correctly rounded float64
operations only, so that every machine gets the same bits. Its token in a case id is its name and,
where it has one, its strength: ``offset1e3``, ``outlier100``, ``zeros``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.cases.generator import hashes
from normcheck.errors import UsageError, nearest
from normcheck.numerics.formats import FloatFormat

__all__ = ["MIXES", "REGIMES", "Regime", "edge_value", "fill", "mix", "parse"]


@dataclass(frozen=True, slots=True)
class _Slices:
    """What a regime works on: bell-shaped values z of shape (slices, n), and the surroundings."""

    z: Tensor
    strength: float
    fmt: FloatFormat
    eps: float
    key: int

    def places(self) -> tuple[Tensor, Tensor]:
        """One random element of every slice, as an index pair."""
        rows, n = self.z.shape
        return torch.arange(rows), hashes(rows, self.key ^ 0x2C1B3C6D) % n

    def ramp(self) -> Tensor:
        """0, 1, ..., n - 1 as a row, float64."""
        return torch.arange(self.z.shape[1], dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class Regime:
    """A family of values.

    Attributes:
        name: Letters only.
        summary: What it does, in words.
        values: Bell-shaped values to the family's.
        strength: Whether the token carries a number.
        finite: Whether all values are finite.
    """

    name: str
    summary: str
    values: Callable[[_Slices], Tensor]
    strength: bool = False
    finite: bool = True


def _with_one(base: Tensor, s: _Slices, value: float) -> Tensor:
    changed = base.clone()
    changed[s.places()] = value
    return changed


def _plain(s: _Slices) -> Tensor:
    # Neither unit variance nor zero mean: those forgive a missing scale and a missing centring.
    return 1.5 * s.z + 0.75


def _tiny_variance(s: _Slices) -> Tensor:
    # sqrt is correctly rounded everywhere; variance = strength * eps.
    scale = torch.tensor(s.strength * (s.eps or 1e-5), dtype=torch.float64).sqrt()
    return scale * s.z


def _heavy(s: _Slices) -> Tensor:
    # Doubling with probability 1/2 each time: tails like 1/x, all powers of two exact.
    draws = hashes(s.z.numel(), s.key ^ 0x31848BAB).reshape(s.z.shape) | (1 << 12)
    exponent = torch.zeros_like(draws)
    for bit in range(12):
        exponent += ((draws & ((2 << bit) - 1)) == 0).to(exponent.dtype)
    return torch.ldexp(s.z, exponent)


def _channel(s: _Slices) -> Tensor:
    changed = _plain(s)
    changed[:, s.z.shape[1] // 3] *= s.strength
    return changed


def edge_value(fmt: FloatFormat, n: int) -> float:
    """Return a power of two whose square, times n, is just inside what is judged."""
    exponent = (math.frexp(fmt.accumulation.square_limit)[1] - n.bit_length()) // 2 - 2
    return min(fmt.largest, 2.0**exponent)


def _edge(s: _Slices) -> Tensor:
    n = s.z.shape[1]
    return _with_one(_plain(s), s, edge_value(s.fmt, n))


def _alternating(s: _Slices) -> Tensor:
    return (1.0 - 2.0 * (s.ramp() % 2)) * (3.0 + 0.25 * s.z)


def _padded_tail(s: _Slices) -> Tensor:
    changed = _plain(s)
    changed[:, s.z.shape[1] - s.z.shape[1] // 4 :] = s.strength
    return changed


def _ramp(s: _Slices) -> Tensor:
    return 1.0 + (s.ramp() * 4.0) / float(s.z.shape[1]) + 0.0 * s.z


REGIMES = {
    regime.name: regime
    for regime in (
        Regime("plain", "bell-shaped, std 1.5, mean 0.75", _plain),
        Regime("offset", "mean/std = strength, std 1", lambda s: s.z + s.strength, strength=True),
        Regime("narrow", "1 + strength * bell", lambda s: 1 + s.strength * s.z, strength=True),
        Regime("vareps", "variance = strength * eps, mean 0", _tiny_variance, strength=True),
        Regime("scale", "strength * bell", lambda s: s.strength * s.z, strength=True),
        Regime("const", "every element = strength", lambda s: s.strength + 0 * s.z, strength=True),
        Regime("zeros", "every element 0", lambda s: 0 * s.z),
        Regime(
            "outlier",
            "plain, one element = strength",
            lambda s: _with_one(_plain(s), s, s.strength),
            strength=True,
        ),
        Regime("edge", "plain, one element as large as squares allow", _edge),
        Regime("channel", "plain, one column times strength", _channel, strength=True),
        Regime("heavy", "bell times powers of two, tails like 1/x", _heavy),
        Regime("alternating", "+3, -3, +3, ... with noise", _alternating),
        Regime("positive", "1 + |bell|: same-sign sums", lambda s: 1 + s.z.abs()),
        Regime("ramp", "1 to 5 in equal steps", _ramp),
        Regime("padtail", "plain, the last quarter = strength", _padded_tail, strength=True),
        Regime("padrow", "garbage of size strength", lambda s: s.strength * s.z, strength=True),
        Regime(
            "subnormal",
            "bell times the smallest normal number",
            lambda s: s.fmt.smallest_normal * s.z,
        ),
        Regime(
            "nan", "plain, one NaN", lambda s: _with_one(_plain(s), s, float("nan")), finite=False
        ),
        Regime(
            "inf", "plain, one +inf", lambda s: _with_one(_plain(s), s, float("inf")), finite=False
        ),
        Regime(
            "neginf",
            "plain, one -inf",
            lambda s: _with_one(_plain(s), s, float("-inf")),
            finite=False,
        ),
    )
}

# Mixes: slice i of a tensor gets entry i + seed, cyclically. `calm` slices are well conditioned,
# so that sums over slices (parameter gradients) keep a budget that can tell right from wrong.
MIXES: dict[str, tuple[str, ...]] = {
    "mix": (
        "plain", "offset1e3", "vareps1", "outlier100", "const0.1", "offset10", "vareps0.01",
        "heavy", "zeros", "offset100", "narrow0.001", "outlier1e4", "alternating", "scale1e-4",
        "positive", "offset1e4", "const1e4", "channel1e3", "vareps100", "edge", "ramp", "padrow1e3",
        "scale300", "padtail0", "subnormal", "scale1e4", "padtail1e3", "const1", "scale1e-10",
        "scale1e10", "offset1e5", "scale1e-20", "scale1e15",
    ),
    "calm": (
        "plain", "offset3", "vareps1", "outlier10", "positive", "vareps0.01", "alternating",
        "scale30", "heavy", "offset10", "padtail0", "ramp", "vareps100", "scale300",
    ),
    "bad": ("plain", "nan", "offset3", "inf", "plain", "neginf", "outlier100"),
}  # fmt: skip


def parse(token: str) -> tuple[Regime, float]:
    """Return the regime and the strength that a token names.

    Raises:
        UsageError: There is no such regime, or its number is missing or superfluous.
    """
    match = re.fullmatch(r"([a-z]+)(\d.*)?", token)
    name, number = (match[1], match[2]) if match else (token, None)
    if name not in REGIMES:
        raise UsageError(
            f"regime is {token!r}, but must be known{nearest(name, [*MIXES, *REGIMES])}"
        )
    regime = REGIMES[name]
    if regime.strength != (number is not None):
        rule = "carry a number, as offset1e3" if regime.strength else f"be just {name}"
        raise UsageError(f"regime is {token!r}, but must {rule}")
    try:
        strength = float(number or 0.0)
    except ValueError:
        strength = math.inf
    if not math.isfinite(strength):
        raise UsageError(f"strength of regime is {number!r}, but must be a finite number")
    return regime, strength


def mix(name: str, fmt: FloatFormat) -> tuple[str, ...]:
    """Return the tokens of a mix that a format can hold, or the one regime of that name."""
    if name not in MIXES:
        parse(name)
        return (name,)
    return tuple(token for token in MIXES[name] if parse(token)[1] <= fmt.largest / 8)


def fill(z: Tensor, tokens: tuple[str, ...], seed: int, fmt: FloatFormat, eps: float) -> Tensor:
    """Turn bell-shaped values into the values of a mix.

    Args:
        z: (slices, n), float64.
        tokens: Regimes; slice i gets entry i + seed, cyclically.
        seed: Rotates the mix, and places single elements.
        fmt: The format that the values will be rounded to.
        eps: Epsilon of the case: some regimes are relative to it.

    Returns:
        (slices, n), float64, not yet rounded.
    """
    if z.numel() == 0:
        return z
    values = torch.empty_like(z)
    which = (torch.arange(z.shape[0]) + seed) % len(tokens)
    for index, token in enumerate(tokens):
        rows = (which == index).nonzero().squeeze(1)
        if rows.numel():
            regime, strength = parse(token)
            values[rows] = regime.values(_Slices(z[rows], strength, fmt, eps, seed + index))
    return values
