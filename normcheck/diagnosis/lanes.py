"""Hypotheses about padding: lanes that hold no element, but count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.guess import Guess, Hypothesis
from normcheck.diagnosis.scene import Scene

__all__ = ["lanes", "own_statistics", "with_statistics"]

# Loads, warps, tiles and blocks are this many elements wide.

_WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_USES = ("mean and variance", "variance", "mean")


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()


def _multiple(count: int, width: int) -> int:
    return -(-count // width) * width


def with_statistics(scene: Scene, mean: Tensor, variance: Tensor) -> Guess:
    """Make a guess of one mean and one v per slice, in the order of `Scene.rows`."""
    return scene.guess(mean=scene.spread(mean), variance=scene.spread(variance))


def own_statistics(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, their mean (zero where the op is not centred) and their v."""
    rows = scene.rows(scene.x)
    mean = rows.mean(-1) if scene.reduction.centred else torch.zeros(rows.shape[0]).double()
    total = (rows - mean.unsqueeze(1)).square().sum(-1)
    return rows, mean, total if scene.reduction.summed else total / max(rows.shape[1], 1)


def _padded(scene: Scene, total: Callable[[Scene], int], how: str) -> Guess | None:
    if scene.fixed is not None:
        return None
    _, mean, variance = own_statistics(scene)
    count, n = total(scene), max(scene.count, 1)
    match how:
        case "squares":
            variance = variance + (count - n) * mean.square() / n
        case "variance":
            variance = variance * n / count
        case "mean":
            own = mean
            mean = mean * n / count
            variance = variance + (own - mean).square()
        case "mean alone":
            mean = mean * n / count
        case "all":
            # Zeros count as elements everywhere.
            own, mean = mean, mean * n / count
            squares = variance + own.square()
            variance = squares * n / count - mean.square()
        case "squares and variance":
            variance = (variance * n + (count - n) * mean.square()) / count
    return with_statistics(scene, mean, variance)


def _axis_padded(scene: Scene, width: int, axis: int) -> int:
    view, over = scene.reduction.view, scene.reduction.over
    if axis >= len(over):
        return scene.count
    own = view[over[axis]]
    return scene.count // max(own, 1) * _multiple(own, width)


def lanes(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Padding that counts."""
    sizes: list[tuple[str, Callable[[Scene], int]]] = [
        ("the next power of two", lambda s: _power_of_two(s.count))
    ]
    for width in _WIDTHS:
        sizes.append((f"a multiple of {width}", partial(_axis_padded_all, width=width)))
        for axis in range(len(whole.reduction.over)) if len(whole.reduction.over) > 1 else ():
            size = partial(_axis_padded, width=width, axis=axis)
            sizes.append((f"a multiple of {width} along one axis", size))
    words = {
        "squares": "lanes padded to {} count into the variance",
        "variance": "the variance is divided by {}",
        "mean": "the mean is divided by {}, and the variance taken around it",
        "mean alone": "the mean is divided by {}",
        "all": "zeros padded to {} count as elements",
        "squares and variance": "padded lanes count into the variance, which is divided by {}",
    }
    for (lane, total), (how, text) in itertools.product(sizes, words.items()):
        if not whole.reduction.centred and how not in ("variance",):
            continue
        cost = 0 if "power" in lane else 1
        yield Hypothesis("K13", text.format(lane), partial(_padded, total=total, how=how), cost)
    for width, use in itertools.product((4, 8, 16, 32, 64, 128), _USES):
        text = f"loads of {width} run on into the next row: {use} see its first elements"
        yield Hypothesis("K13", text, partial(_runs_on, width=width, use=use), 1)


def _axis_padded_all(scene: Scene, width: int) -> int:
    return _multiple(scene.count, width)


def _runs_on(scene: Scene, width: int, use: str) -> Guess | None:
    if scene.fixed is not None:
        return None
    rows, mean, variance = own_statistics(scene)
    beyond = min(_multiple(scene.count, width) - scene.count, rows.shape[1])
    if not beyond or rows.shape[0] < 2:
        return scene.guess()
    after = torch.cat([rows[1:, :beyond], rows.new_zeros(1, beyond)])
    n = 1 if scene.reduction.summed else scene.count
    other = mean
    if use != "variance" and scene.reduction.centred:
        other = mean + after.sum(-1) / scene.count
        variance = variance + (other - mean).square()
    if use != "mean":
        variance = variance + (after - other.unsqueeze(1)).square().sum(-1) / n
    return with_statistics(scene, other, variance)
