"""Hypotheses about eps: its place and its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from normcheck.diagnosis.guess import Guess, Hypothesis, root_of
from normcheck.diagnosis.scene import Scene
from normcheck.numerics.reduction import EpsPlace

__all__ = ["epsilon", "name_of"]

_FIXED = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_PLACES = {
    EpsPlace.INSIDE: "eps inside the root",
    EpsPlace.OUTSIDE: "eps outside the root",
    EpsPlace.FLOOR: "eps as a floor of the norm",
}
_HALVES = (torch.float16, torch.bfloat16)


def name_of(dtype: torch.dtype) -> str:
    """Return ``float16`` for ``torch.float16``."""
    return str(dtype).removeprefix("torch.")


def _other_eps(scene: Scene, change: Callable[[Scene], float]) -> Guess:
    return scene.guess(root=root_of(scene.exact.variance, scene.formula, change(scene)))


def epsilon(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Another place or another value of eps."""
    for place, text in _PLACES.items():
        if place is not whole.formula.eps_place:
            cause = f"{text}; declare --policy eps={place} if it is meant"
            # A floor says no more than no eps at all, except in the op that has one.
            cost = 1 if place is EpsPlace.FLOOR else 0
            yield Hypothesis("K05", cause, partial(_placed, place=place), cost)

    def value(kind: str, text: str, change: Callable[[Scene], float], cost: int = 0) -> Hypothesis:
        return Hypothesis(kind, text, lambda s: _other_eps(s, change), cost)

    yield value("K06", "eps is ignored", lambda s: 0.0)
    yield value("K06", "eps is read as an integer", lambda s: float(int(s.eps)), 1)
    for eps in _FIXED:
        yield value("K06", f"eps is fixed at {eps:g}", partial(_constant, eps), 1)
    for eps in (1.001e-5, 1e-6, 1e-5, 1e-8):
        text = f"eps is raised to at least {eps:g}"
        yield value("K06", text, lambda s, eps=eps: max(s.eps, eps), 1)  # type: ignore[misc]
    machine = "eps is the machine epsilon of the dtype"
    yield value("K06", machine, lambda s: torch.finfo(s.problem.x.dtype).eps)
    yield value("K06", "eps is added twice", lambda s: 2 * s.eps)
    yield value(
        "K06", "eps is added to the sum of squares, not to their mean", lambda s: s.eps / s.count
    )
    yield value("K06", "eps is multiplied by the number of elements", lambda s: s.eps * s.count)
    yield value("K06", "eps is squared", lambda s: s.eps**2)
    for dtype in _HALVES:
        text = f"eps is held in {name_of(dtype)}"
        yield value("K04", text, partial(_held, dtype=dtype))
    yield from _read_off(whole)
    if whole.fixed is not None:
        yield value("K06", "eps is ignored in evaluation mode", _unless_fixed)
    yield Hypothesis("K06", "rows are scaled by their largest element, and eps is not", _prescaled)


def _constant(eps: float, scene: Scene) -> float:
    return eps


def _unless_fixed(scene: Scene) -> float:
    return scene.eps if scene.fixed is None else 0.0


def _held(scene: Scene, dtype: torch.dtype) -> float:
    return float(torch.tensor(scene.eps).to(dtype))


def _placed(scene: Scene, place: EpsPlace) -> Guess:
    formula = replace(scene.formula, eps_place=place)
    return scene.guess(root=root_of(scene.exact.variance, formula))


def _prescaled(scene: Scene) -> Guess:
    largest = scene.x.abs().amax(scene.reduction.over, keepdim=True)
    eps = torch.where(largest > 0, scene.eps * largest.square(), scene.eps)
    return scene.guess(root=root_of(scene.exact.variance, scene.formula, eps))


def _read_off(scene: Scene) -> Iterator[Hypothesis]:
    """The eps that fits the scales of the rows in which it weighs most, to three digits."""
    if scene.formula.eps_place is not EpsPlace.INSIDE:
        return
    root, _ = scene.implied
    variance = scene.rows(scene.exact.variance)[:, 0]
    mean = scene.rows(scene.exact.mean.expand(scene.x.shape))[:, 0]
    eps = root.pow(-2) - variance
    heard = (eps > 0) & (variance < 30 * eps) & eps.isfinite() & (variance > 1e-4 * mean.square())
    if not bool(heard.any()):
        return
    found = float(eps[heard].median())
    for value in dict.fromkeys(float(f"{found:.{digits}g}") for digits in (1, 2, 3)):
        if value not in _FIXED:
            text = f"eps is {value:g} in effect"
            yield Hypothesis("K06", text, partial(_other_eps, change=partial(_constant, value)), 2)
    for factor in dict.fromkeys(float(f"{found / (scene.eps or 1):.{d}g}") for d in (1, 2, 3)):
        text = f"eps is {factor:g} times what was passed"
        yield Hypothesis("K06", text, partial(_other_eps, change=partial(_times, factor)), 2)


def _times(factor: float, scene: Scene) -> float:
    return scene.eps * factor
