"""Hypotheses about weight and bias, and about values that are cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.epsilon import name_of
from normcheck.diagnosis.guess import Guess, Hypothesis
from normcheck.diagnosis.scene import Scene
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to

__all__ = ["affine", "clipping"]

_LIMITS = (0.5, 1, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 50, 64, 100, 127, 128, 240, 256)
_HALVES = (torch.float16, torch.bfloat16)


def _weighted(scene: Scene, change: Callable[[Tensor], Tensor | None]) -> Guess:
    return scene.guess() if scene.weight is None else scene.guess(weight=change(scene.weight))


def affine(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Weight and bias that are left out, misplaced or rounded."""
    if whole.weight is not None or whole.inputs.op.parameter("weight") is not None:
        yield Hypothesis("K36", "weight is ignored", lambda s: s.guess(weight=None))
        if whole.formula.weight_offset:
            hint = "; declare --policy weight=plain if it is meant"
            yield Hypothesis("K10", "multiplies by weight, not 1 + weight" + hint,
                             lambda s: _weighted(s, lambda w: w - 1.0))  # fmt: skip
        else:
            yield Hypothesis(
                "K10", "multiplies by 1 + weight; declare --policy weight=one_plus if it is meant",
                lambda s: _weighted(s, lambda w: w + 1.0),
            )  # fmt: skip
        for dtype in _HALVES:
            text = f"the factor of the output is rounded to {name_of(dtype)}"
            rounded = partial(
                _narrowed, fmt=FloatFormat.of(dtype), offset=whole.formula.weight_offset
            )
            kind = "K10" if whole.formula.weight_offset else "K22"
            yield Hypothesis(kind, text, lambda s, r=rounded: _weighted(s, r), 1)  # type: ignore[misc]
        yield Hypothesis("K07", "the weight loses its sign", lambda s: _weighted(s, torch.abs))
        yield Hypothesis("K07", "the weight is squared", lambda s: _weighted(s, torch.square))
        yield from _misplaced_weights()
    yield Hypothesis("K36", "bias is ignored", lambda s: s.guess(bias=None))
    yield Hypothesis("K07", "the bias is subtracted",
                     lambda s: s.guess(bias=None if s.bias is None else -s.bias))  # fmt: skip
    yield Hypothesis("K07", "the bias is added before the weight is applied", _bias_first)
    yield Hypothesis("K36", "the bias is ignored where there is no weight",
                     lambda s: s.guess(bias=None) if s.weight is None else s.guess())  # fmt: skip
    yield Hypothesis("K36", "the weight is ignored where there is no bias",
                     lambda s: s.guess(weight=None) if s.bias is None else s.guess())  # fmt: skip
    yield Hypothesis("K36", "a bias without a weight is read as the weight", _bias_as_weight)
    yield Hypothesis("K36", "weight and bias are exchanged",
                     lambda s: s.guess(weight=s.bias, bias=s.weight))  # fmt: skip
    if whole.problem.residual is not None:
        yield Hypothesis("K36", "residual is ignored",
                         lambda s: s.guess(x=s.problem.x.double()))  # fmt: skip
        yield Hypothesis("K36", "residual is added after the norm", _added_after)


def _narrowed(w: Tensor, fmt: FloatFormat, offset: float) -> Tensor:
    """The sum with one is formed of what is already rounded."""
    return round_to(round_to(w - offset, fmt) + offset, fmt)


def _bias_first(scene: Scene) -> Guess:
    if scene.bias is None or scene.weight is None:
        return scene.guess()
    return scene.guess(bias=scene.bias * scene.weight)


def _bias_as_weight(scene: Scene) -> Guess:
    if scene.weight is None and scene.bias is not None:
        return scene.guess(weight=scene.bias, bias=None)
    return scene.guess()


def _added_after(scene: Scene) -> Guess | None:
    residual = scene.problem.residual
    if residual is None:
        return None
    plain = scene.guess(x=scene.problem.x.double())
    output = plain.forward.output + residual.double()
    return replace(plain, forward=replace(plain.forward, output=output))


def _misplaced_weights() -> Iterator[Hypothesis]:
    for block in (16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096):
        text = f"columns from {block} on take the weight of the first {block}"
        yield Hypothesis("K14", text, partial(_weighted, change=partial(_repeated, block=block)), 1)
    yield Hypothesis(
        "K21", "the weight of a group's first channel is used for the whole group",
        lambda s: _weighted(s, partial(_first_of_group, scene=s)),
    )  # fmt: skip
    yield Hypothesis("K21", "the index into the weight runs on from sample to sample", _running_on)


def _repeated(w: Tensor, block: int) -> Tensor:
    flat = w.reshape(-1)
    return flat[torch.arange(flat.numel()) % block].reshape(w.shape)


def _first_of_group(w: Tensor, scene: Scene) -> Tensor:
    axes = [a for a in scene.reduction.over if w.shape[a] > 1]
    for axis in axes:
        w = w.narrow(axis, 0, 1).expand(w.shape)
    return w


def _running_on(scene: Scene) -> Guess | None:
    """Slice i of the whole batch takes weight i % channels + i // channels."""
    view, w = scene.reduction.view, scene.weight
    if w is None or len(view) < 2 or w.shape[0] != 1:
        return scene.guess()
    samples, channels = view[0], w.numel()
    index = (torch.arange(samples).unsqueeze(1) + torch.arange(channels)) % channels
    return scene.guess(weight=w.reshape(-1)[index].reshape(samples, *w.shape[1:]))


def clipping(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Large values that are cut off."""
    for limit in _LIMITS:
        yield Hypothesis("K07", f"x is clipped to -{limit:g} .. {limit:g}",
                         lambda s, c=limit: s.guess(x=s.x.clamp(-c, c)), 1)  # type: ignore[misc]  # fmt: skip
    if whole.fixed is None:
        unit = whole.guess(bias=None, weight=None).forward.normalised
        w = torch.ones_like(unit) if whole.weight is None else whole.weight.expand(unit.shape)
        b = torch.zeros_like(unit) if whole.bias is None else whole.bias
        seen = ((whole.y - b) / w).abs()
        seen = torch.where((w != 0) & whole.clean & seen.isfinite(), seen, 0.0)
        right = ~whole.honest.outside
        within = torch.where(right, unit.abs(), 0.0)
        wrong = whole.honest.outside
        if bool(wrong.any()):
            limit = float(f"{float(seen[wrong].median()):.3g}")
            if limit >= 0.99 * float(within.nan_to_num().max()):
                text = f"normalised values are clipped to -{limit:g} .. {limit:g}"
                yield Hypothesis("K07", text, partial(_clipped, limit=limit), 2)


def _clipped(scene: Scene, limit: float) -> Guess:
    return scene.guess(normalised=scene.exact.normalised.clamp(-limit, limit))
