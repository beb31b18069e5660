"""Hypotheses about elements that the statistics leave out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.guess import Guess, Hypothesis, root_of
from normcheck.diagnosis.lanes import own_statistics, with_statistics
from normcheck.diagnosis.scene import Scene

__all__ = ["parts"]

# Loads, warps, tiles and blocks are this many elements wide.

_WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def _seen(scene: Scene, first: Callable[[int], int], how: str) -> Guess | None:
    """Statistics of the first elements of each slice."""
    if scene.fixed is not None:
        return None
    rows, mean, variance = own_statistics(scene)
    n, c = rows.shape[1], max(1, first(rows.shape[1]))
    if c >= n:
        return scene.guess()
    part = rows[:, :c]
    if "mean" in how and scene.reduction.centred:
        mean = part.sum(-1) / (n if "n" in how.split(",")[-1] else c)
        variance = (rows - mean.unsqueeze(1)).square().mean(-1)
    if "variance" in how:
        total = (part - mean.unsqueeze(1)).square().sum(-1)
        variance = total if scene.reduction.summed else total / (n if how.endswith("n") else c)
    return with_statistics(scene, mean, variance)


def _first(n: int, limit: int) -> int:
    return min(n, limit)


def _whole_blocks(n: int, width: int) -> int:
    return n - n % width if n >= width else n


def _whole_threads(n: int, each: int, warp: int) -> int:
    """Threads of ``each`` elements; warps that are not full are left out."""
    threads = n // each
    return n if threads < warp else (threads - threads % warp) * each


def parts(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Elements that are left out. How many is read off the output, then explained."""
    if whole.fixed is not None or not bool(whole.honest.outside.any()):
        return
    hows = ["mean,variance,c", "variance,c", "variance,n", "mean,c", "mean,n", "mean,variance,n"]
    for how in hows:
        if "mean" in how and not whole.reduction.centred and "variance" not in how:
            continue
        for found in dict.fromkeys(_cuts(whole, how)):
            yield from _reasons(whole, found, how)


def _reasons(whole: Scene, found: int, how: str) -> Iterator[Hypothesis]:
    n = whole.count
    use = " and ".join(how.split(",")[:-1])
    verb = "see" if " and " in use or use == "statistics" else "sees"
    text = f"the {use} {verb} the first {found} of {n} columns only"
    yield Hypothesis("K14", text, partial(_seen, first=partial(_first, limit=found), how=how), 1)
    for width in sorted({*_WIDTHS, *_divisors(found, n)}):
        if _whole_blocks(n, width) == found:
            text = f"the {use} leaves out what exceeds a multiple of {width}"
            first = partial(_whole_blocks, width=width)
            yield Hypothesis("K14", text, partial(_seen, first=first, how=how), 1)
    for each, warp in itertools.product((2, 4, 8, 16), (32, 64)):
        if _whole_threads(n, each, warp) == found:
            text = f"the {use} leaves out the last part warp ({each} elements a thread)"
            first = partial(_whole_threads, each=each, warp=warp)
            yield Hypothesis("K14", text, partial(_seen, first=first, how=how), 1)


def _divisors(found: int, n: int) -> list[int]:
    """Widths of which ``found`` is the largest multiple up to ``n``."""
    return [w for w in range(max(2, n - found + 1), min(found, 1024) + 1) if found % w == 0][:6]


def _cuts(scene: Scene, how: str) -> list[int]:
    """The numbers of first elements whose statistics come closest to those in the output."""
    root, centre = scene.implied
    rows, mean, _ = own_statistics(scene)
    # Rows whose mean dwarfs their spread show no more than rounding errors.
    plain = rows.var(-1, correction=0) > 1e-4 * rows.square().mean(-1)
    heard = root.isfinite() & rows.isfinite().all(-1) & plain
    if not bool(heard.any()):
        return []
    # The widest spread of scales tells most; a few slices are enough.
    index = heard.nonzero()[:, 0][:16]
    rows, mean, root, centre = rows[index], mean[index], root[index], centre[index]
    n = rows.shape[1]
    sizes = torch.arange(1, n + 1, dtype=torch.float64)
    divisor = sizes if how.endswith("c") else torch.full_like(sizes, n)
    c = rows - mean.unsqueeze(1)
    ahead = c.cumsum(-1)
    if "variance" not in how:
        moved = (
            ahead / sizes if how.endswith("c") else ahead / n - mean.unsqueeze(1) * (1 - sizes / n)
        )
        far = (moved - (centre - mean).unsqueeze(1)).abs() * root.unsqueeze(1)
        return _best(far)
    shift = ahead / divisor if "mean" in how and scene.reduction.centred else 0 * ahead
    squares = c.square().cumsum(-1) - 2 * shift * ahead + sizes * shift.square()
    v = squares if scene.reduction.summed else squares / divisor
    far = (root_of(v.clamp_min(0), scene.formula) / root.unsqueeze(1)).log().abs()
    return _best(far)


def _best(far: Tensor) -> list[int]:
    """The three sizes whose middle slice is nearest."""
    worst = far.nan_to_num(nan=torch.inf).median(0).values[:-1]
    if not worst.numel():
        return []
    return [int(i) + 1 for i in worst.topk(min(3, worst.numel()), largest=False).indices]
