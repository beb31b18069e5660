"""Hypotheses about arithmetic: cancellation, overflow, roundings on the way, constant slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.epsilon import name_of
from normcheck.diagnosis.guess import Guess, Hypothesis, root_of
from normcheck.diagnosis.scene import Scene
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to

__all__ = ["common_factor", "constants", "overflows", "rounded_steps", "scaled"]

_HALVES = (torch.float16, torch.bfloat16)


def _narrower(scene: Scene) -> list[torch.dtype]:
    """Formats that something may have been rounded to on the way."""
    wide = scene.input_format.dtype == torch.float64
    return [*_HALVES, torch.float32] if wide else [*_HALVES]


def rounded_steps(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """One quantity that is rounded to a narrower format."""
    for dtype in _narrower(whole):
        fmt, name = FloatFormat.of(dtype), name_of(dtype)
        single = dtype == torch.float32
        kind = "K08" if single else "K09"
        yield Hypothesis(kind, f"the reciprocal root is rounded to {name}",
                         partial(_rounded_root, fmt=fmt))  # fmt: skip
        yield Hypothesis(kind, f"the normalised value is rounded to {name}",
                         partial(_rounded_values, fmt=fmt))  # fmt: skip
        # float16 overflows where bfloat16 only loses bits: that is what sets it apart.
        lossy = "K02" if dtype == torch.float16 else "K08"
        yield Hypothesis(lossy, f"the variance is rounded to {name}",
                         partial(_rounded_variance, fmt=fmt, with_eps=False))  # fmt: skip
        yield Hypothesis("K04", f"variance plus eps is rounded to {name}",
                         partial(_rounded_variance, fmt=fmt, with_eps=True))  # fmt: skip
        yield Hypothesis("K08", f"the mean is rounded to {name}", partial(_rounded_mean, fmt=fmt))
        yield Hypothesis("K08", f"x is rounded to {name}",
                         lambda s, f=fmt: s.guess(x=round_to(s.x, f)))  # type: ignore[misc]  # fmt: skip
        yield Hypothesis(lossy, f"the squares are rounded to {name}",
                         partial(_rounded_squares, fmt=fmt))  # fmt: skip
        yield Hypothesis("K08", f"the number of elements is rounded to {name}",
                         partial(_rounded_count, fmt=fmt))  # fmt: skip
    yield Hypothesis("K09", "the output is cut, not rounded",
                     lambda s: replace(s.guess(), truncated=True))  # fmt: skip


def _between(scene: Scene, low: Tensor, high: Tensor) -> Guess:
    """Any root between two."""
    middle = scene.guess(root=(low + high) / 2)
    first, second = (scene.guess(root=r).forward.output for r in (low, high))
    return replace(middle, ends=(torch.minimum(first, second), torch.maximum(first, second)))


def _rounded_root(scene: Scene, fmt: FloatFormat) -> Guess:
    room = scene.budget(scene.guess()).root
    root = scene.exact.root
    return _between(scene, round_to(root - room, fmt), round_to(root + room, fmt))


def _rounded_variance(scene: Scene, fmt: FloatFormat, *, with_eps: bool) -> Guess:
    v, room = scene.exact.variance, scene.budget(scene.guess()).variance
    extra = scene.eps if with_eps else 0.0
    ends = [round_to((v + extra + d).clamp_min(0.0), fmt) for d in (room, -room)]
    eps = 0.0 if with_eps else scene.eps
    low, high = (root_of(end, scene.formula, eps) for end in ends)
    return _between(scene, low, high)


def _rounded_mean(scene: Scene, fmt: FloatFormat) -> Guess | None:
    if not scene.reduction.centred:
        return None
    mean = round_to(scene.exact.mean, fmt)
    around = (scene.x - mean).square().mean(scene.reduction.over, keepdim=True)
    return scene.guess(mean=mean, variance=around if scene.fixed is None else None)


def _rounded_values(scene: Scene, fmt: FloatFormat) -> Guess:
    value, room = scene.exact.normalised, scene.budget(scene.guess()).normalised
    ends = [scene.guess(normalised=round_to(e, fmt)) for e in (value - room, value + room)]
    first, second = (end.forward.output for end in ends)
    return replace(
        scene.guess(normalised=round_to(value, fmt)),
        ends=(torch.minimum(first, second), torch.maximum(first, second)),
    )


def _rounded_squares(scene: Scene, fmt: FloatFormat) -> Guess | None:
    """The deviations may be rounded first; a square beside a midpoint may fall either way."""
    if scene.fixed is not None:
        return None
    over, n = scene.reduction.over, 1 if scene.reduction.summed else max(scene.count, 1)
    room = 4 * scene.input_format.accumulation.unit_roundoff
    squares = scene.exact.deviation.square()
    low, high = (
        round_to(squares * (1 + d), fmt).sum(over, keepdim=True) / n for d in (-room, room)
    )
    roots = [root_of(v, scene.formula) for v in (high, low)]
    return _between(scene, roots[0], roots[1])


def _rounded_count(scene: Scene, fmt: FloatFormat) -> Guess | None:
    count = torch.tensor(float(scene.count), dtype=torch.float64)
    if scene.fixed is not None or scene.reduction.summed:
        return None
    held = float(round_to(count, fmt))
    if held == scene.count:
        return scene.guess()
    return scene.guess(variance=scene.exact.variance * scene.count / held)


def overflows(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Slices whose squares leave a format on the way."""
    half = FloatFormat.of(torch.float16)
    yield Hypothesis("K02", "squares overflow float16",
                     partial(_overflown, power=2.0, limit=half.largest, each=True), 1)  # fmt: skip
    yield Hypothesis("K02", "the mean of squares overflows float16",
                     partial(_overflown, power=2.0, limit=half.largest, each=False), 1)  # fmt: skip
    yield Hypothesis("K02", "the sum of squares overflows float16",
                     partial(_overflown_sum, limit=half.largest), 1)  # fmt: skip
    for power in (3.0, 4.0):
        yield Hypothesis("K03", f"power {power:g} of the values leaves float32",
                         partial(_out_of_range, power=power), 1)  # fmt: skip


def _lost(scene: Scene, beyond: Tensor) -> Guess | None:
    """Slices beyond a range come out zero, infinite or NaN; the others are right."""
    if not bool((beyond & scene.clean).any()):
        return scene.guess()
    b = torch.zeros_like(scene.x) if scene.bias is None else scene.bias.expand(scene.x.shape)
    zero = scene.guess(root=torch.where(beyond, 0.0, scene.exact.root))
    lost = ~scene.y.isfinite() & beyond
    told = torch.where(lost, torch.nan, b)
    return replace(zero, told=(lost, told))


def _overflown(scene: Scene, power: float, limit: float, *, each: bool) -> Guess | None:
    if scene.fixed is not None:
        return None
    sizes = scene.exact.deviation.abs().pow(power)
    over = scene.reduction.over
    largest = sizes.amax(over, keepdim=True) if each else sizes.mean(over, keepdim=True)
    return _lost(scene, largest >= limit)


def _overflown_sum(scene: Scene, limit: float) -> Guess | None:
    if scene.fixed is not None:
        return None
    return _lost(
        scene, scene.exact.deviation.square().sum(scene.reduction.over, keepdim=True) >= limit
    )


def _out_of_range(scene: Scene, power: float) -> Guess | None:
    if scene.fixed is not None:
        return None
    fmt = FloatFormat.of(torch.float32)
    size = (scene.exact.variance + scene.eps).pow(power / 2)
    small, large = size < fmt.smallest_normal, size > fmt.largest
    found = _lost(scene, large)
    # Below the range the value has lost its bits, if it is anything at all.
    if found is None or not bool(small.any()):
        return found
    wild = small.expand(scene.x.shape)
    nothing = wild & ~scene.y.isfinite()
    told = (nothing, torch.full_like(scene.x, torch.nan))
    return replace(found, free=small, told=found.told or told)


def constants(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """What happens to slices of one element, and to those of one value."""
    for text, value in (("come out NaN", torch.nan), ("are zero", 0.0)):
        yield Hypothesis("K12", f"slices of one element {text}",
                         partial(_single, value=value))  # fmt: skip
    yield Hypothesis("K12", "slices of one element are not normalised", _single_kept)
    yield Hypothesis("K11", "slices without variance are not finite", _flat_lost, 1)
    part = _mean_error(whole)
    if part is not None:
        text = f"the mean is off by {part:.1g} of itself, which constant slices amplify"
        yield Hypothesis("K11", text, partial(_noisy_mean, part=part), 2)
    for floor in (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3):
        yield Hypothesis("K01", f"variances below {floor:g} become zero",
                         partial(_flushed, floor=floor), 1)  # fmt: skip


def _single(scene: Scene, value: float) -> Guess | None:
    if scene.fixed is not None or scene.count != 1:
        return scene.guess()
    return scene.guess(output=torch.full_like(scene.x, value))


def _single_kept(scene: Scene) -> Guess | None:
    if scene.fixed is not None or scene.count != 1:
        return scene.guess()
    plain = scene.guess(normalised=scene.x, weight=None, bias=None)
    full = scene.guess(normalised=scene.x)
    near = [(g.forward.output - scene.y).abs().nan_to_num().max() for g in (plain, full)]
    return plain if near[0] <= near[1] else full


def _flat(scene: Scene) -> Tensor:
    v = scene.exact.variance
    return (v <= 1e-12 * scene.exact.mean.square()) | (v < 1e-37)


def _flat_lost(scene: Scene) -> Guess | None:
    """Some flat slices (all of them, or those of zeros) give NaN; the others are right."""
    if scene.fixed is not None:
        return None
    flat = _flat(scene).expand(scene.x.shape)
    lost = flat & ~scene.y.isfinite()
    return replace(scene.guess(), told=(lost, torch.full_like(scene.x, torch.nan)))


def _mean_error(scene: Scene) -> float | None:
    """The relative error of the mean that constant slices show; None without one."""
    if scene.fixed is not None or not scene.reduction.centred or not scene.eps:
        return None
    mean, unit = scene.exact.mean, torch.ones_like(scene.x)
    w = scene.rows(unit if scene.weight is None else scene.weight * unit)
    y = scene.rows(scene.y) - scene.rows(unit * 0.0 if scene.bias is None else scene.bias * unit)
    shift = scene.spread((w * y).sum(-1) / w.square().sum(-1))
    # y = -e / sqrt(eps + e^2), solved for e.
    e = -shift * (scene.eps / (1 - shift.square()).clamp_min(1e-12)).sqrt()
    part = (e / mean)[_flat(scene) & (mean != 0) & shift.isfinite()]
    found = float(part.median()) if part.numel() else 0.0
    return found if 1e-9 < abs(found) < 1e-4 else None


def _noisy_mean(scene: Scene, part: float) -> Guess | None:
    if scene.fixed is not None or not scene.reduction.centred:
        return None
    moved = scene.exact.mean * (1 + part)
    v = (scene.x - moved).square().mean(scene.reduction.over, keepdim=True)
    return scene.guess(mean=moved, variance=v)


def _flushed(scene: Scene, floor: float) -> Guess | None:
    if scene.fixed is not None:
        return None
    v = scene.exact.variance
    return scene.guess(variance=torch.where(v < floor, 0.0, v))


def scaled(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """One factor over all slices, read off the output."""
    factor = _factor(whole, least=2)
    if factor is not None:
        text = f"every row's scale is off by the same factor {factor:.6g}: lane count, or a divisor"
        yield Hypothesis("K14", text, _same_factor, 2)


def _factor(scene: Scene, least: int = 1) -> float | None:
    """The scale of the middle row, where there are so many: what is said of one row is no rule."""
    root, _ = scene.implied
    own = scene.rows(scene.exact.root)[:, 0]
    found = (root / own)[
        root.isfinite() & (own > 0) & scene.rows(scene.clean.expand(scene.x.shape))[:, 0]
    ]
    return float(found.median()) if found.numel() >= least else None


def common_factor(scene: Scene, least: int = 1) -> float | None:
    """The factor by which all slices are scaled, if it is one and not 1; slices without noise.

    None where there are fewer slices than ``least``.
    """
    root, _ = scene.implied
    own = scene.rows(scene.exact.root)[:, 0]
    granted = scene.rows(scene.own_budget.root)[:, 0] / own
    square = scene.rows(scene.x).square().mean(-1)
    plain = scene.rows(scene.exact.variance)[:, 0] > 0.1 * square
    part = (root / own - 1)[root.isfinite() & plain & (granted < 1e-4)]
    if part.numel() < least:
        return None
    middle = float(part.median())
    u = scene.input_format.unit_roundoff
    same = (part - middle).abs() <= max(0.25 * abs(middle), 0.0)
    return 1 + middle if bool(same.all()) and abs(middle) > 4 * u else None


def _same_factor(scene: Scene) -> Guess | None:
    """A factor of the scale, or of v where eps weighs beside it."""
    factor = _factor(scene)
    if factor is None or not bool(scene.honest.outside.any()):
        return scene.guess()
    by_root = scene.guess(root=scene.exact.root * factor)
    v = scene.exact.variance
    by_variance = scene.guess(variance=v / factor**2)
    first, second = (scene.match(g).ratio for g in (by_root, by_variance))
    return by_root if first <= second else by_variance
