"""Hypotheses about the estimator of the scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from normcheck.diagnosis.guess import Guess, Hypothesis
from normcheck.diagnosis.scene import Scene

__all__ = ["estimators"]


def _freedom(scene: Scene, less: float) -> Guess | None:
    count = scene.count
    if scene.fixed is not None or scene.reduction.summed:
        return None
    return scene.guess(variance=scene.exact.variance * count / max(count - less, 1))


def _other_centre(scene: Scene, *, values: bool, variance: bool) -> Guess | None:
    """Centre the values, the variance or both where the op does not, or the other way round."""
    if scene.fixed is not None:
        return None
    over, x = scene.reduction.over, scene.x
    mean = x.mean(over, keepdim=True)
    inner = torch.zeros_like(mean) if scene.reduction.centred is variance else mean
    outer = torch.zeros_like(mean) if scene.reduction.centred is values else mean
    squares = (x - inner).square().sum(over, keepdim=True)
    v = squares if scene.reduction.summed else squares / max(scene.count, 1)
    return replace(scene.guess(mean=outer, variance=v), centred=True)


def _divided(scene: Scene, width: float) -> Guess | None:
    if scene.fixed is not None:
        return None
    total = scene.exact.variance * (1 if scene.reduction.summed else scene.count)
    return scene.guess(variance=total / width)


def estimators(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Another estimator of the scale."""
    yield Hypothesis("K07", "the variance divides by n - 1", partial(_freedom, less=1))
    yield Hypothesis("K07", "the variance divides by n + 1", partial(_freedom, less=-1))
    centred = whole.reduction.centred
    text = "the mean is not subtracted" if centred else "the mean is subtracted"
    yield Hypothesis("K07", text, partial(_other_centre, values=True, variance=True))
    text = (
        "the mean square stands for the variance"
        if centred
        else ("the variance stands for the mean square")
    )
    yield Hypothesis("K07", text, partial(_other_centre, values=False, variance=True))
    text = "the values are not centred" if centred else "the values alone are centred"
    yield Hypothesis("K07", text, partial(_other_centre, values=True, variance=False))
    yield Hypothesis(
        "K07", "divides by the reciprocal root", lambda s: s.guess(root=1.0 / s.exact.root)
    )
    yield Hypothesis(
        "K07", "divides by the variance, not by its root",
        lambda s: s.guess(root=s.exact.root.square()),
    )  # fmt: skip
    if whole.reduction.summed:
        yield Hypothesis(
            "K07", "the sum of squares is divided by n", lambda s: _divided(s, s.count)
        )
    else:
        yield Hypothesis(
            "K07", "the sum of squares is not divided by n", lambda s: _divided(s, 1.0)
        )
        yield from _widths(whole)
    yield Hypothesis("K36", "evaluation mode takes the batch's own statistics", _of_the_batch)
    yield Hypothesis(
        "K36", "evaluation of one sample takes its own statistics",
        lambda s: _of_the_batch(s) if s.reduction.view[0] == 1 else s.guess(),
    )  # fmt: skip
    yield Hypothesis("K25", "running_var is read as a standard deviation", _squared)


def _widths(scene: Scene) -> Iterator[Hypothesis]:
    """A divisor that does not depend on the number of columns."""
    root, _ = scene.implied
    variance = scene.rows(scene.exact.variance)[:, 0]
    implied = root.pow(-2) - scene.eps
    heard = implied.isfinite() & (variance > 100 * scene.eps) & (implied > 0)
    if scene.fixed is None and bool(heard.any()):
        width = (scene.count * variance / implied)[heard].median()
        if 0.5 < float(width) < 1e7:
            text = f"the sum of squares is always divided by {round(float(width))}"
            yield Hypothesis("K07", text, partial(_divided, width=round(float(width))), 2)


def _of_the_batch(scene: Scene) -> Guess | None:
    if scene.fixed is None:
        return scene.guess()
    mean = scene.x.mean(scene.reduction.over, keepdim=True)
    variance = (scene.x - mean).square().mean(scene.reduction.over, keepdim=True)
    found = scene.guess(mean=mean, variance=variance)
    return replace(found, forward=replace(found.forward, fixed=False))


def _squared(scene: Scene) -> Guess | None:
    return scene.guess() if scene.fixed is None else scene.guess(variance=scene.fixed[1].square())
