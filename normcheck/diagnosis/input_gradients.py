"""Hypotheses about the gradient of the input, where the output is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.gradient import (
    GradientHypothesis,
    Sized,
    built,
    dy_of,
    right_gradients,
    shown,
    simple,
)
from normcheck.diagnosis.gradient_axes import (
    as_training,
    batch_root,
    gradient_axes,
    gradient_residuals,
)
from normcheck.diagnosis.guess import root_of
from normcheck.diagnosis.scene import Scene
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to

__all__ = ["input_gradients"]


def input_gradients(whole: Scene) -> Iterator[GradientHypothesis]:
    """Yield what the gradient of x may be instead."""
    H = GradientHypothesis
    yield from _terms(whole)
    yield from _saved(whole)
    yield H(
        "K27",
        "the gradient is never written: zeros",
        simple(lambda s: Sized.of(torch.zeros_like(s.x))),
    )
    for limit in (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0):
        yield H("K24", f"dy is clipped to -{limit:g} .. {limit:g}",
                simple(partial(_clipped, limit=limit)), 1)  # fmt: skip
    yield H("K11", "the gradient of slices without variance is not finite", _flat_lost)
    yield H("K03", "the cube of the reciprocal root leaves float32", _cubed, 1)
    yield from gradient_axes(whole)
    if whole.fixed is not None:
        yield H("K29", "evaluation mode differentiates as training does",
                simple(lambda s: as_training(s, own_root=False)))  # fmt: skip
        yield H("K29", "evaluation mode differentiates as training does, statistics included",
                simple(lambda s: as_training(s, own_root=True)))  # fmt: skip
        yield H("K29", "evaluation mode differentiates with the batch's root",
                simple(batch_root))  # fmt: skip
    if whole.problem.residual is not None:
        yield from gradient_residuals()


def _clipped(scene: Scene, limit: float) -> Sized:
    d = dy_of(scene).clamp(-limit, limit)
    return built(scene, g=d if scene.weight is None else d * scene.weight)


def _terms(whole: Scene) -> Iterator[GradientHypothesis]:
    H = GradientHypothesis
    eval_only = whole.fixed is not None
    words = (
        (0.0, 1.0, "dx lacks the mean of g"),
        (1.0, 0.0, "dx lacks x^ mean(g x^)"),
        (0.0, 0.0, "the statistics are differentiated as constants"),
        (2.0, 1.0, "dx subtracts the mean of g twice"),
        (1.0, 2.0, "dx subtracts x^ mean(g x^) twice"),
        (-1.0, 1.0, "dx adds the mean of g"),
        (1.0, -1.0, "dx adds x^ mean(g x^)"),
    )
    for mean, projection, text in () if eval_only else words:
        if whole.reduction.centred or mean == 1.0 or (mean == 0.0 == projection):
            yield H("K24", text, simple(
                lambda s, a=mean, b=projection: built(s, mean=a, projection=b)))  # type: ignore[misc]  # fmt: skip
    if not whole.reduction.centred:
        yield H("K24", "dx subtracts the mean of g, as layer_norm does", simple(_centred))
    yield H("K24", "dx forgets the weight", simple(lambda s: built(s, g=_weights(s, 0))))
    yield H("K24", "dx takes the weight twice", simple(lambda s: built(s, g=_weights(s, 2))))
    yield H("K24", "the statistics' part of dx forgets the weight", simple(_half_weighted))
    if whole.problem.residual is None:
        yield H("K24", "dx is doubled", simple(lambda s: built(s).times(2)))
    yield H("K24", "dx has the wrong sign", simple(lambda s: -built(s)))
    yield H("K24", "the projection in dx is averaged over n - 1",
            simple(lambda s: built(s, projection=s.count / max(s.count - 1, 1))))  # fmt: skip
    yield H("K24", "the projection in dx counts once more over n - 1",
            simple(lambda s: built(s, projection=1 + 1 / max(s.count - 1, 1))))  # fmt: skip
    yield H("K24", "the mean of g in dx is averaged over n - 1",
            simple(lambda s: built(s, mean=s.count / max(s.count - 1, 1))))  # fmt: skip
    yield H("K24", "dx is not multiplied by the reciprocal root",
            simple(lambda s: built(s, outer=torch.ones_like(s.exact.root))))  # fmt: skip
    for offset in (-1.0, 1.0):
        text = (
            "dx takes weight where the output takes 1 + weight"
            if offset < 0
            else ("dx takes 1 + weight where the output takes weight")
        )
        yield H("K10", text, simple(lambda s, o=offset: _offset(s, o)))  # type: ignore[misc]


def _offset(scene: Scene, offset: float) -> Sized:
    w = scene.weight
    return built(scene, g=dy_of(scene) * (1.0 if w is None else w + offset))


def _centred(scene: Scene) -> Sized:
    g = right_gradients(scene).scaled
    return built(scene) - Sized.of(g.mean(scene.reduction.over, keepdim=True) * scene.exact.root)


def _half_weighted(scene: Scene) -> Sized:
    own = built(scene, g=dy_of(scene))
    return own + Sized.of(right_gradients(scene).scaled - dy_of(scene)).times(scene.exact.root)


def _saved(whole: Scene) -> Iterator[GradientHypothesis]:
    """Something else is saved than what the backward needs."""
    H = GradientHypothesis
    yield H("K06", "the backward recomputes the root without eps", simple(_without_eps))
    roots: tuple[tuple[str, Callable[[Scene], Tensor]], ...] = (
        ("the variance is saved where the reciprocal root belongs", lambda s: s.exact.variance),
        ("the standard deviation is saved where the reciprocal root belongs",
         lambda s: s.exact.variance.sqrt()),
        ("variance plus eps is saved where the reciprocal root belongs",
         lambda s: s.exact.root.pow(-2)),
        ("the root is saved where the reciprocal root belongs", lambda s: 1 / s.exact.root),
    )  # fmt: skip
    for text, change in roots:
        yield H("K25", text, simple(lambda s, c=change: built(s, root=c(s))))  # type: ignore[misc]
        both = f"{text}, and the values rebuilt with it"
        yield H("K25", both, simple(
            lambda s, c=change: built(s, root=c(s), values=s.exact.deviation * c(s))), 1)  # type: ignore[misc]  # fmt: skip
    for dtype in (torch.float16, torch.bfloat16):
        fmt, name = FloatFormat.of(dtype), str(dtype).removeprefix("torch.")
        yield H("K25", f"the reciprocal root is saved in {name}",
                simple(partial(_rounded_root, fmt=fmt, rebuilt=False)), 1)  # fmt: skip
        yield H("K25", f"the reciprocal root is saved in {name}, and the values rebuilt with it",
                simple(partial(_rounded_root, fmt=fmt, rebuilt=True)), 1)  # fmt: skip
        # A value beside a midpoint may fall either way; it moves the projection a little.
        yield H("K25", f"the normalised values are saved in {name}",
                simple(partial(_rounded_values, fmt=fmt)), 1, fmt.unit_roundoff / 64)  # fmt: skip


def _rounded_root(scene: Scene, fmt: FloatFormat, *, rebuilt: bool) -> Sized:
    root = round_to(scene.exact.root, fmt)
    return built(scene, root=root, values=scene.exact.deviation * root if rebuilt else None)


def _rounded_values(scene: Scene, fmt: FloatFormat) -> Sized:
    return built(scene, values=round_to(scene.exact.normalised, fmt))


def _without_eps(scene: Scene) -> Sized:
    root = root_of(scene.exact.variance.clamp_min(1e-30), scene.formula, 0.0)
    # A slice without variance has noise for a scale.
    return replace(built(scene, root=root), free=_flat(scene).expand(scene.x.shape))


def _flat(scene: Scene) -> Tensor:
    v = scene.exact.variance
    return (v <= 1e-12 * scene.x.square().mean(scene.reduction.over, keepdim=True)) | (v < 1e-37)


def _flat_lost(scene: Scene, tensor: str) -> Sized | None:
    plain = built(scene)
    flat = _flat(scene).expand(scene.x.shape)
    lost = flat & ~shown(scene, tensor).isfinite()
    return replace(plain, value=torch.where(lost, torch.nan, plain.value))


def _cubed(scene: Scene, tensor: str) -> Sized | None:
    """Where r^3 leaves float32 its term is lost, or is nothing at all."""
    fmt = FloatFormat.of(torch.float32)
    cube = scene.exact.root.pow(3)
    small, large = cube < fmt.smallest_normal, cube > fmt.largest
    lost = (small | large).expand(scene.x.shape) & ~shown(scene, tensor).isfinite()
    plain, without = built(scene), built(scene, projection=0.0)
    value = torch.where(small, without.value, plain.value)
    return Sized(torch.where(lost, torch.nan, value), plain.size)


def _weights(scene: Scene, power: int) -> Tensor:
    w = scene.weight
    return dy_of(scene) if w is None or not power else dy_of(scene) * w**power
