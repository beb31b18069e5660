"""Hypotheses about the slices that the statistics are taken over."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.guess import Guess, Hypothesis
from normcheck.diagnosis.lanes import own_statistics, with_statistics
from normcheck.diagnosis.scene import Scene
from normcheck.ops.op import Family

__all__ = ["SHARDS", "axes", "neighbours", "shards", "shards_of"]

# Loads, warps, tiles and blocks are this many elements wide.


def _grouped(scene: Scene) -> tuple[int, ...]:
    """The input's shape, with the channels of a channels op split into groups."""
    shape, case = scene.inputs.case.shape, scene.inputs.case
    if scene.inputs.op.family is Family.CHANNELS:
        groups = case.groups if scene.inputs.op.parameter("num_groups") else 1
        return (shape[0], groups, shape[1] // max(groups, 1), math.prod(shape[2:]))
    split = len(shape) - case.dims
    return (*shape[:split], *shape[split:])


def _over(scene: Scene, axes: tuple[int, ...], use: str) -> Guess | None:
    sizes = _grouped(scene)
    if scene.fixed is not None or max(axes) >= len(sizes):
        return None
    x = scene.x.reshape(sizes)
    summed, centred = scene.reduction.summed, scene.reduction.centred
    mean = x.mean(axes, keepdim=True) if centred else x.new_zeros([1] * len(sizes))
    own = scene.exact.mean.expand(scene.reduction.view).reshape(sizes)
    around = own if use == "variance" else mean
    squares = (x - around).square()
    v = squares.sum(axes, keepdim=True) if summed else squares.mean(axes, keepdim=True)
    view = scene.reduction.view
    means = around.expand(sizes).reshape(view)
    if use == "mean":
        return scene.guess(mean=means)
    return scene.guess(mean=means, variance=v.expand(sizes).reshape(view))


def axes(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Statistics over other axes."""
    sizes = _grouped(whole)
    if whole.fixed is not None or len(sizes) > 5:
        return
    rows = whole.inputs.op.family is Family.ROWS
    names = (
        [f"dimension {a}" for a in range(len(sizes))]
        if rows
        else ["samples", "groups", "channels of a group", "positions"]
    )
    for many in range(1, len(sizes) + 1):
        for chosen in itertools.combinations(range(len(sizes)), many):
            over = " and ".join(names[a] for a in chosen)
            for use in ("statistics", "variance", "mean"):
                text = (
                    f"the {use} are taken over {over}"
                    if use == "statistics"
                    else (f"the {use} is taken over {over}")
                )
                yield Hypothesis("K20", text, partial(_over, axes=chosen, use=use))
    if not rows:
        yield Hypothesis("K20", "channel c is taken to be of group c % groups", _interleaved)
        text = "channels are read group by group as c % groups, and written in that order"
        yield Hypothesis("K20", text, _regrouped)


def _regrouped(scene: Scene) -> Guess | None:
    samples, groups, each, positions = _grouped(scene)
    x = scene.x.reshape(samples, each, groups, positions).transpose(1, 2)
    return scene.guess(x=x.reshape(scene.reduction.view))


def _interleaved(scene: Scene) -> Guess | None:
    samples, groups, each, positions = _grouped(scene)
    if scene.fixed is not None:
        return None
    x = scene.x.reshape(samples, each, groups, positions)
    mean = x.mean((1, 3), keepdim=True)
    v = (x - mean).square().mean((1, 3), keepdim=True)
    means, variances = (s.expand(x.shape).reshape(scene.reduction.view) for s in (mean, v))
    return scene.guess(mean=means, variance=variances)


def shards(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Statistics of parts of the batch, merged wrongly."""
    if whole.inputs.op.family is not Family.CHANNELS or 0 not in whole.reduction.over:
        return
    for sizes in SHARDS:
        for how, text in (
            ("variances", "the variances of shards ({}) are averaged"),
            ("means", "the means of shards ({}) are averaged, whatever their sizes"),
            ("both", "means and variances of shards ({}) are averaged, whatever their sizes"),
            ("first", "the statistics are those of the first shard ({})"),
        ):
            yield Hypothesis("K35", text.format(sizes), partial(_sharded, sizes=sizes, how=how), 1)


SHARDS = ("halves", "thirds", "quarters", "eighths", "the first sample apart",
          "the last sample apart")  # fmt: skip


def shards_of(x: Tensor, sizes: str) -> list[Tensor]:
    """Split a batch; a part without samples is left out."""
    count = {"halves": 2, "thirds": 3, "quarters": 4, "eighths": 8}.get(sizes)
    if count is not None:
        return [p for p in x.tensor_split(count) if p.shape[0]]
    if x.shape[0] < 3:
        return [x]
    edge = 1 if sizes.startswith("the first") else x.shape[0] - 1
    return [x[:edge], x[edge:]]


def _sharded(scene: Scene, sizes: str, how: str) -> Guess | None:
    if scene.fixed is not None:
        return None
    over, zero = scene.reduction.over, torch.zeros_like(scene.exact.mean)
    parts = shards_of(scene.x, sizes)
    means = [p.mean(over, keepdim=True) for p in parts]
    own = [p.var(over, keepdim=True, correction=0) for p in parts]
    if how == "first":
        return scene.guess(mean=means[0], variance=own[0])
    mean = sum(means, zero) / len(parts)
    match how:
        case "variances":
            shares = [p.shape[0] / scene.x.shape[0] for p in parts]
            pairs = zip(own, shares, strict=True)
            return scene.guess(variance=sum((v * share for v, share in pairs), zero))
        case "means":
            v = (scene.x - mean).square().mean(over, keepdim=True)
            return scene.guess(mean=mean, variance=v)
    return scene.guess(mean=mean, variance=sum(own, zero) / len(parts))


def neighbours(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Slices that take the statistics of others."""
    if whole.fixed is not None:
        return
    for tile, use in itertools.product((2, 4, 8, 16, 32, 64), ("mean", "variance", "statistics")):
        text = f"tiles of {tile} rows share their {use}"
        yield Hypothesis("K15", text, partial(_tiled, tile=tile, use=use), 1)
    for use in ("statistics", "variance", "mean"):
        text = f"some slices take the {use} of others"
        yield Hypothesis("K15", text, partial(_borrowed, use=use), 2)


def _tiled(scene: Scene, tile: int, use: str) -> Guess | None:
    """Where the plain answer is right, rows are no tiles: a fault of narrow rows, say."""
    rows, mean, _ = own_statistics(scene)
    if scene.fixed is not None or not bool(scene.honest.outside.any()):
        return scene.guess()
    whole = rows.shape[0] - rows.shape[0] % tile
    shared = mean.clone()
    shared[:whole] = mean[:whole].reshape(-1, tile).mean(1, keepdim=True).expand(-1, tile).flatten()
    around = mean if use == "variance" else shared
    v = (rows - around.unsqueeze(1)).square().mean(-1)
    if use != "mean":
        pooled = v[:whole].reshape(-1, tile).mean(1, keepdim=True).expand(-1, tile).flatten()
        v = torch.cat([pooled, v[whole:]])
    return with_statistics(scene, around, v)


def _borrowed(scene: Scene, use: str) -> Guess | None:
    """Give every wrong slice the statistics of the slice that fits its output best.

    A chance match of a few slices is no evidence: the statistics that are lent must be ones of
    this case, to within the budget, for every wrong slice.
    """
    wrong = scene.rows(scene.honest.outside).any(-1)
    if scene.fixed is not None or not bool(wrong.any()):
        return scene.guess()
    _, mean, variance = own_statistics(scene)
    roots, means = scene.implied
    own = scene.rows(scene.exact.root)[:, 0]
    index = torch.arange(own.numel())
    where = wrong.nonzero()[:, 0]
    if own.numel() > 4096 or where.numel() > 2048:
        return None
    far = torch.zeros(where.numel(), own.numel(), dtype=torch.float64)
    if use != "mean":
        far = far + (own.unsqueeze(0) / roots[where].unsqueeze(1)).log().abs()
    if use != "variance" and scene.reduction.centred:
        far = far + (mean.unsqueeze(0) - means[where].unsqueeze(1)).abs() * own[where].unsqueeze(1)
    far[torch.arange(where.numel()), where] = torch.inf
    nearest, chosen = far.nan_to_num(nan=torch.inf).min(-1)
    # A slice whose output says little borrows from as far away as most of the others do.
    clear = nearest < 1e-3
    if bool(clear.any()):
        by = int((chosen - where)[clear].mode().values)
        chosen = torch.where(clear, chosen, (where + by).clamp(0, own.numel() - 1))
    index[where] = chosen
    return with_statistics(
        scene, mean if use == "variance" else mean[index],
        variance if use == "mean" else variance[index],
    )  # fmt: skip
