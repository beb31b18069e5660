"""Hypotheses about the gradients of weight and bias, where the output is right."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.scene import Scene
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to
from normcheck.ops.op import Family

__all__ = ["SumHypothesis", "explains_sum", "parameter_sums", "sum_is_right"]


@dataclass(frozen=True, slots=True)
class SumHypothesis:
    """What a parameter gradient may be instead.

    Attributes:
        kind: Its class.
        text: The cause in words.
        value: Terms, (products, parameters) and scene to the gradient; None if it says nothing.
        cost: As of `Hypothesis`.
        slack: Unit roundoff of a narrower format in which sums are kept.
    """

    kind: str
    text: str
    value: Callable[[Tensor, Scene], Tensor | None]
    cost: int = 0
    slack: float = 0.0


def _terms(scene: Scene, tensor: str, *, other: bool = False) -> Tensor:
    """Return (products, parameters): what is summed, rows in order."""
    dy = scene.observed.dy["y"].double()
    wants_weight = (tensor == "grad_weight") is not other
    terms = (dy * scene.exact.normalised if wants_weight else dy).expand(scene.reduction.view)
    over = scene.reduction.summed_over
    kept = [a for a in range(len(scene.reduction.view)) if a not in over]
    moved = terms.permute(*over, *kept)
    count = max(1, scene.reduction.contributions)
    return moved.reshape(count, -1)


def explains_sum(h: SumHypothesis, scene: Scene, tensor: str) -> tuple[bool, bool]:
    """Whether a hypothesis explains a parameter gradient, and whether it is nearer, not wider."""
    name = tensor.removeprefix("grad_")
    if name not in scene.observed.gradients or "y" not in scene.observed.dy:
        return False, False
    observed = scene.observed.gradients[name].double().reshape(-1)
    terms = _terms(scene, tensor, other="instead of" in h.text)
    value = h.value(terms, scene)
    if value is None:
        return False, False
    fmt, acc = FloatFormat.of(scene.observed.gradients[name].dtype), scene.input_format.accumulation
    u = acc.unit_roundoff
    size = _terms(scene, tensor).abs().sum(0)
    depth = scene.formula.depth(max(1, scene.reduction.contributions))
    own = scene.budget(scene.guess())
    dy = scene.observed.dy["y"].double().abs()
    error = (dy * own.normalised).expand(scene.reduction.view)
    over, kept = (
        scene.reduction.summed_over,
        [a for a in range(len(scene.reduction.view)) if a not in scene.reduction.summed_over],
    )
    carried = error.permute(*over, *kept).reshape(terms.shape[0], -1).sum(0)
    room = 2 * ((depth + 4) * u * size + carried) + acc.smallest_subnormal
    narrow = scene.input_format
    if narrow.precision < acc.precision:
        # The normalised value may be rounded on the way.
        room = room + narrow.unit_roundoff * size * 0.02
    right = _terms(scene, tensor).sum(0)
    wide = room + h.slack * size + fmt.unit_roundoff * value.abs()
    heard = right.isfinite() & wide.isfinite()
    fits = (observed - value).abs() <= wide
    fits = fits | (~value.isfinite() & ~observed.isfinite())
    if not bool(fits[heard].all()):
        return False, False
    bad = heard & ~((observed - right).abs() <= room + fmt.unit_roundoff * right.abs())
    far = (observed - right).abs().nan_to_num(nan=torch.inf)
    return True, bool((wide <= 0.5 * far)[bad].any())


def sum_is_right(scene: Scene, tensor: str) -> bool:
    """Whether a parameter gradient needs no explanation."""
    return explains_sum(SumHypothesis("", "right", lambda t, s: t.sum(0)), scene, tensor)[0]


def parameter_sums(whole: Scene, tensor: str) -> Iterator[SumHypothesis]:
    """Yield what a parameter gradient may be instead."""
    H = SumHypothesis
    yield H("K27", "the gradient is never written: zeros",
            lambda t, s: 0.0 * t.nan_to_num().sum(0), int(whole.fixed is not None))  # fmt: skip
    yield H("K27", "the gradient is that of the last sample alone", partial(_one, place=-1))
    yield H("K27", "the gradient is that of the first sample alone", partial(_one, place=0))
    yield H("K30", "the gradient is doubled", lambda t, s: 2 * t.sum(0))
    yield H("K24", "the gradient is averaged, not summed", lambda t, s: t.mean(0))
    yield H("K17", "it is the other parameter's gradient, instead of its own", _if_many, 1)
    yield H("K37", "a sum of nothing is not zero", lambda t, s: t.sum(0) if t.shape[0] else None)
    if whole.inputs.op.family is Family.CHANNELS:
        yield from _channel_sums()
    yield from _rows_left_out(whole, tensor)
    yield from _columns_left_out(whole)
    yield from _narrow_sums(whole)


def _if_many(t: Tensor, scene: Scene) -> Tensor | None:
    return t.sum(0)


def _samples(t: Tensor, scene: Scene) -> Tensor:
    """(samples, parameters): partial sums of each row, or each sample."""
    samples = (
        scene.inputs.case.shape[0] if scene.inputs.op.family is Family.CHANNELS else t.shape[0]
    )
    return t.reshape(samples, -1, t.shape[1]).sum(1)


def _one(t: Tensor, scene: Scene, place: int) -> Tensor | None:
    return _samples(t, scene)[place] if t.shape[0] else None


def _channel_sums() -> Iterator[SumHypothesis]:
    H = SumHypothesis
    yield H("K21", "the gradient is summed over the channels of a group", _of_group)
    yield H("K29", "evaluation mode gives no gradient of the weight",
            lambda t, s: 0 * t.sum(0) if s.fixed is not None else t.sum(0))  # fmt: skip
    for count in (2, 3, 4, 8):
        for first in (True, False):
            which = "first" if first else "last"
            yield H("K35", f"the gradient is that of the {which} of {count} shards",
                    partial(_shard, count=count, first=first), 1)  # fmt: skip
    for by in (1, -1):
        yield H("K14", f"the gradient of channel c{by:+d} is added to that of channel c",
                partial(_neighbour, by=by), 1)  # fmt: skip


def _of_group(t: Tensor, scene: Scene) -> Tensor:
    case = scene.inputs.case
    whole = t.sum(0).reshape(max(case.groups, 1), -1)
    return whole.sum(1, keepdim=True).expand(whole.shape).reshape(-1)


def _shard(t: Tensor, scene: Scene, count: int, *, first: bool) -> Tensor | None:
    parts = _samples(t, scene).chunk(count)
    return parts[0 if first else -1].sum(0) if len(parts) > 1 else None


def _neighbour(t: Tensor, scene: Scene, by: int) -> Tensor:
    total = t.sum(0)
    return total + total.roll(-by)


def _rows_left_out(whole: Scene, tensor: str) -> Iterator[SumHypothesis]:
    """Sums that end early, or count some rows twice: where is read off, then explained."""
    terms = _terms(whole, tensor)
    name = tensor.removeprefix("grad_")
    if name not in whole.observed.gradients or terms.shape[0] < 2:
        return
    parts = _samples(terms, whole)
    observed = whole.observed.gradients[name].double().reshape(-1)
    ahead = parts.cumsum(0)
    total = ahead[-1]
    unit = "samples" if whole.inputs.op.family is Family.CHANNELS else "rows"
    for kind, found, text in (
        ("K15", ahead, "the gradient sees the first {} " + unit + " only"),
        ("K14", 2 * total - ahead, "the gradient counts the " + unit + " from {} on twice"),
    ):
        size = parts.abs().sum(0).clamp_min(1e-300)
        far = ((found - observed) / size).abs().nan_to_num(nan=torch.inf)
        # Most columns decide: in some of them the rows that are left out hold nothing.
        cut = int(far.quantile(0.75, 1)[:-1].argmin()) + 1
        twice = kind == "K14"
        yield SumHypothesis(kind, text.format(cut), partial(_cut, cut=cut, twice=twice), 1)
        rows = parts.shape[0]
        for width in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
            if rows - rows % width == cut and not twice:
                words = f"the gradient leaves out the {unit} past a multiple of {width}"
                yield SumHypothesis(kind, words, partial(_whole_blocks, width=width), 1)


def _cut(t: Tensor, scene: Scene, cut: int, *, twice: bool) -> Tensor:
    parts = _samples(t, scene)
    return parts.sum(0) + parts[cut:].sum(0) if twice else parts[:cut].sum(0)


def _whole_blocks(t: Tensor, scene: Scene, width: int) -> Tensor:
    parts = _samples(t, scene)
    rows = parts.shape[0]
    return parts[: rows - rows % width].sum(0) if rows >= width else parts.sum(0)


def _columns_left_out(whole: Scene) -> Iterator[SumHypothesis]:
    for width, floor in itertools.product((2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), (0, 1)):
        text = f"columns past a multiple of {width} have no gradient"
        yield SumHypothesis("K14", text, partial(_no_tail, width=width, floor=floor), 1)


def _no_tail(t: Tensor, scene: Scene, width: int, floor: int) -> Tensor:
    columns = t.shape[1]
    kept = columns - columns % width
    if floor and columns <= width:
        return t.sum(0)
    return t.sum(0) * (torch.arange(columns) < kept)


def _narrow_sums(whole: Scene) -> Iterator[SumHypothesis]:
    """Sums in a half format: exactly where the order is known, else within their budget."""
    H = SumHypothesis
    for dtype in (torch.bfloat16, torch.float16):
        fmt, name = FloatFormat.of(dtype), str(dtype).removeprefix("torch.")
        if fmt.precision >= whole.input_format.accumulation.precision:
            continue
        # Products beside a midpoint fall either way; a few do.
        near = fmt.unit_roundoff / 64
        yield H("K26", f"the products are rounded to {name} before they are added",
                partial(_of_products, fmt=fmt), 1, fmt.unit_roundoff / 64)  # fmt: skip
        yield H("K26", f"the sum is rounded to {name}",
                lambda t, s, f=fmt: round_to(t.sum(0), f), 1)  # type: ignore[misc]  # fmt: skip
        yield H("K26", f"each sample's sum is rounded to {name}",
                partial(_of_samples, fmt=fmt), 1, fmt.unit_roundoff / 64)  # fmt: skip
        for rows in (8, 16, 32, 64, 128, 256):
            yield H("K26", f"partial sums of {rows} rows are rounded to {name}",
                    partial(_partial_sums, fmt=fmt, rows=rows), 1, near)  # fmt: skip
        yield H("K26", f"the gradient is added up in {name}, one by one",
                partial(_serial, dtype=dtype), 1, fmt.unit_roundoff)  # fmt: skip


def _of_products(t: Tensor, scene: Scene, fmt: FloatFormat) -> Tensor:
    return round_to(t, fmt).sum(0)


def _of_samples(t: Tensor, scene: Scene, fmt: FloatFormat) -> Tensor:
    return round_to(_samples(t, scene), fmt).sum(0)


def _partial_sums(t: Tensor, scene: Scene, fmt: FloatFormat, rows: int) -> Tensor:
    padded = torch.cat([t, t.new_zeros(-t.shape[0] % rows, t.shape[1])])
    return round_to(padded.reshape(-1, rows, t.shape[1]).sum(1), fmt).sum(0)


def _serial(t: Tensor, scene: Scene, dtype: torch.dtype) -> Tensor | None:
    if t.numel() > 1 << 18:
        return None
    return t.to(dtype).cumsum(0)[-1].double() if t.shape[0] else t.sum(0)
