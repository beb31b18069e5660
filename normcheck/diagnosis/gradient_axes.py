"""Hypotheses about what the gradient of the input is averaged over, and what is added to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from normcheck.diagnosis.gradient import (
    GradientHypothesis,
    Sized,
    beside,
    built,
    dy_of,
    right_gradients,
    simple,
)
from normcheck.diagnosis.guess import root_of
from normcheck.diagnosis.scene import Scene
from normcheck.diagnosis.slices import SHARDS, shards_of
from normcheck.ops.op import Family

__all__ = ["as_training", "batch_root", "gradient_axes", "gradient_residuals"]


def gradient_axes(whole: Scene) -> Iterator[GradientHypothesis]:
    """Means over other axes of the view."""
    if whole.fixed is not None:
        return
    view = whole.reduction.view
    rows = whole.inputs.op.family is Family.ROWS
    for many in range(1, len(view) + 1):
        for chosen in itertools.combinations(range(len(view)), many):
            if chosen == whole.reduction.over:
                continue
            kind = "K15" if rows and set(whole.reduction.over) <= set(chosen) else "K20"
            over = ", ".join(map(str, chosen))
            for mean, both in (("means", True), ("projection", False)):
                text = (
                    f"the {mean} in dx {'are' if both else 'is'} taken over axes {over} of {view}"
                )
                yield GradientHypothesis(kind, text, simple(
                    lambda s, a=chosen, b=both: _averaged(s, a, both=b)))  # type: ignore[misc]  # fmt: skip
            text = f"the projection in dx is subtracted less its mean over axes {over} of {view}"
            yield GradientHypothesis(kind, text, simple(
                lambda s, a=chosen: _extra_projection(s, a)), 1)  # type: ignore[misc]  # fmt: skip
    if not rows and 0 in whole.reduction.over:
        for sizes in SHARDS:
            text = f"dx averages the means of shards of unequal sizes ({sizes})"
            yield GradientHypothesis("K35", text, simple(lambda s, k=sizes: _sharded(s, k)), 1)  # type: ignore[misc]


def _averaged(scene: Scene, axes: tuple[int, ...], *, both: bool) -> Sized:
    if max(axes) >= len(scene.reduction.view):
        return built(scene)
    if both:
        return built(scene, axes=axes)
    # The mean of g is right, and the projection is one over other axes.
    exact = scene.exact
    pooled = (right_gradients(scene).scaled * exact.normalised).mean(axes, keepdim=True)
    return built(scene, projection=0.0) - Sized.of(exact.normalised * pooled * exact.root)


def _extra_projection(scene: Scene, axes: tuple[int, ...]) -> Sized:
    """The projection less its mean over other axes: what is left where it is subtracted twice."""
    exact = scene.exact
    own = (right_gradients(scene).scaled * exact.normalised).mean(
        scene.reduction.over, keepdim=True
    )
    pooled = own.mean(axes, keepdim=True)
    return built(scene) + Sized.of(exact.normalised * (own - pooled) * exact.root)


def _sharded(scene: Scene, sizes: str) -> Sized:
    g, exact, over = right_gradients(scene).scaled, scene.exact, scene.reduction.over

    def alike(value: Tensor) -> Tensor:
        found = [p.mean(over, keepdim=True) for p in shards_of(value, sizes)]
        return sum(found, torch.zeros_like(exact.root)) / len(found)

    inner = Sized.of(g) - alike(g) - exact.normalised * alike(g * exact.normalised)
    return inner.times(exact.root) + beside(scene)


def as_training(scene: Scene, *, own_root: bool) -> Sized:
    """The gradient of training, with the root of evaluation or of the batch."""
    over, g, exact = scene.reduction.over, right_gradients(scene).scaled, scene.exact
    x_hat, root = exact.normalised, exact.root
    if own_root:
        x_hat, root = _of_batch(scene)
    mean, projected = g.mean(over, keepdim=True), (g * x_hat).mean(over, keepdim=True)
    return (Sized.of(g) - mean - x_hat * projected).times(root)


def _of_batch(scene: Scene) -> tuple[Tensor, Tensor]:
    over = scene.reduction.over
    mean = scene.x.mean(over, keepdim=True)
    root = root_of((scene.x - mean).square().mean(over, keepdim=True), scene.formula)
    return (scene.x - mean) * root, root


def batch_root(scene: Scene) -> Sized:
    """The gradient of evaluation, with the root of the batch."""
    return Sized.of(right_gradients(scene).scaled).times(_of_batch(scene)[1])


def gradient_residuals() -> Iterator[GradientHypothesis]:
    """Yield what may be wrong with the gradient that goes round the norm."""
    H = GradientHypothesis
    yield H("K30", "the gradient of the returned sum is dropped",
            simple(lambda s: built(s) - beside(s)))  # fmt: skip
    yield H("K30", "the gradient is doubled", simple(lambda s: built(s).times(2)))
    yield H("K30", "the gradient of the returned sum is added twice",
            simple(lambda s: built(s) + beside(s)))  # fmt: skip
    yield H("K30", "the gradient of the norm is dropped",
            simple(lambda s: Sized.of(0 * s.x) + beside(s)))  # fmt: skip
    yield H("K24", "the sum's gradient goes through the Jacobian of the norm",
            simple(_through_jacobian))  # fmt: skip
    yield H("K24", "the sum's gradient is normalised and weighted",
            simple(_weighted_sum))  # fmt: skip


def _through_jacobian(scene: Scene) -> Sized:
    return built(scene, g=right_gradients(scene).scaled + beside(scene)) - beside(scene)


def _weighted_sum(scene: Scene) -> Sized:
    weight = 1.0 if scene.weight is None else scene.weight
    return built(scene, g=(dy_of(scene) + beside(scene)) * weight) - beside(scene)
