"""Hypotheses about which elements are read and written: layouts, offsets, tails, launches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from normcheck.diagnosis.guess import Guess, Hypothesis
from normcheck.diagnosis.scene import Scene
from normcheck.ops.op import Family

__all__ = ["layouts", "offsets", "unwritten"]


def _memory(x: Tensor) -> Tensor:
    return x.detach().new_empty(0).set_(x.detach().untyped_storage())


def in_storage_order(x: Tensor) -> Tensor:
    """Return the elements as they follow each other in memory, zeros where it ends."""
    if x.is_contiguous() or not x.numel():
        return x
    found = _memory(x)[x.storage_offset() : x.storage_offset() + x.numel()]
    return torch.cat([found, found.new_zeros(x.numel() - found.numel())]).reshape(x.shape)


def _read(scene: Scene, x: Tensor) -> Guess:
    """Slices into which NaN was read come out NaN."""
    own = scene.inputs.tensors["x"]
    if x is own or torch.equal(x, own):
        return scene.guess()
    found = x.reshape(scene.reduction.view).double()
    if scene.problem.residual is not None:
        found = found + scene.problem.residual.double()
    # What a slice of NaN comes out as is the target's own matter, its NaN elements apart.
    lost = found.isnan()
    spoilt = lost.any(scene.reduction.over[0], keepdim=True)
    for axis in scene.reduction.over:
        spoilt = spoilt.any(axis, keepdim=True)
    plain = scene.guess(x=found)
    if not bool(spoilt.any()):
        return plain
    told = (lost, torch.full_like(found, torch.nan))
    return replace(plain, free=spoilt.expand(found.shape) & ~lost, told=told)


def _storage_order(scene: Scene) -> Guess:
    return _read(scene, in_storage_order(scene.inputs.tensors["x"]))


def _exchanged(scene: Scene, first: int, second: int) -> Guess:
    x = scene.inputs.tensors["x"]
    if x.dim() <= max(first, second):
        return scene.guess()
    return _read(scene, x.transpose(first, second).reshape(x.shape))


def _exchanged_points(scene: Scene) -> Guess:
    """Samples and channels are read exchanged where there is one position for each."""
    x = scene.inputs.tensors["x"]
    if x.dim() < 3 or x[0, 0].numel() != 1:
        return scene.guess()
    return _exchanged(scene, 0, 1)


def layouts(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Elements that are read in another order."""
    channels = whole.inputs.op.family is Family.CHANNELS
    kind = "K19" if channels else "K18"
    yield Hypothesis(kind, "x is read in storage order, whatever its strides", _storage_order)
    if channels:
        yield Hypothesis("K19", "planes of one position are read transposed", _exchanged_points)
    rank = whole.inputs.tensors["x"].dim()
    for first in range(rank):
        for second in range(first + 1, rank):
            text = f"x is read with dimensions {first} and {second} exchanged"
            guess = partial(_exchanged, first=first, second=second)
            yield Hypothesis(kind, text, guess)


def _wrapped(scene: Scene, bits: int) -> Guess:
    """Offsets of rows in a number of bits."""
    x = scene.inputs.tensors["x"]
    if x.numel() <= 1 << bits or scene.inputs.op.family is not Family.ROWS:
        return scene.guess()
    rows = x.numel() // scene.count
    start = (torch.arange(rows) * scene.count % (1 << bits)).unsqueeze(1)
    index = (start + torch.arange(scene.count)) % x.numel()
    return _read(scene, x.reshape(-1)[index].reshape(x.shape))


def offsets(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Offsets that overflow."""
    for bits in (*range(10, 23), 31, 32):
        if whole.inputs.tensors["x"].numel() > 1 << bits:
            text = f"offsets of rows wrap at 2^{bits} elements"
            yield Hypothesis("K16", text, partial(_wrapped, bits=bits), 1)


_VALUES = ("zero", "NaN", "x itself")


def _value(scene: Scene, what: str) -> Tensor:
    if what == "x itself":
        return scene.x
    return torch.full_like(scene.x, 0.0 if what == "zero" else torch.nan)


def _told(scene: Scene, mask: Tensor, what: str) -> Guess:
    if not bool(scene.honest.outside.any()):
        return scene.guess()  # such faults come and go with the size
    return replace(scene.guess(), told=(mask.expand(scene.x.shape), _value(scene, what)))


def _from_index(scene: Scene, axis: int, start: int, what: str) -> Guess:
    sizes = scene.inputs.case.shape
    if axis < 0:
        flat = torch.arange(scene.x.numel()).reshape(scene.x.shape)
        return _told(scene, flat >= scene.x.numel() + start, what)
    index = torch.arange(sizes[axis]) >= start
    index = index.reshape([-1 if a == axis else 1 for a in range(len(sizes))]).expand(sizes)
    return _told(scene, index.reshape(scene.reduction.view), what)


def _tail_of_rows(scene: Scene, width: int, what: str) -> Guess:
    size = scene.inputs.case.shape[-1]
    return _from_index(scene, len(scene.inputs.case.shape) - 1, size - size % width, what)


def _wide_rows(scene: Scene, most: int, what: str) -> Guess:
    return _told(scene, torch.tensor(scene.count > most), what)


def unwritten(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    """Elements that were never written, or not normalised: where they begin is read off."""
    wrong = whole.honest.outside
    if not bool(wrong.any()):
        return
    sizes = whole.inputs.case.shape
    wrong_shaped = wrong.reshape(sizes)
    for what in _VALUES:
        for last in (1, 2, 3, 4):
            yield Hypothesis("K14", f"the last {last} elements of the output are {what}",
                             partial(_from_index, axis=-1, start=-last, what=what), 1)  # fmt: skip
        for width in (2, 4, 8, 16, 32, 64, 128, 256, 1024):
            if sizes[-1] % width:
                text = f"columns past a multiple of {width} are {what}"
                yield Hypothesis("K14", text, partial(_tail_of_rows, width=width, what=what), 1)
        for axis in range(len(sizes)):
            others = [a for a in range(len(sizes)) if a != axis]
            start = int((wrong_shaped.any(others) if others else wrong_shaped).int().argmax())
            yield from _begins(small, whole, axis, start, what)
        text = f"slices of {whole.count} elements are {what}: the launch failed unnoticed"
        most = min(small.count, whole.count) - 1
        yield Hypothesis("K17", text, partial(_wide_rows, most=most, what=what), 2)


def _begins(small: Scene, whole: Scene, axis: int, start: int, what: str) -> Iterator[Hypothesis]:
    if not start:
        return
    rank = len(whole.inputs.case.shape)
    rows = whole.inputs.op.family is Family.ROWS
    column = axis == rank - 1 and rank > 1 if rows else axis >= 1
    name = "columns" if rows and column else "rows" if rows else f"dimension {axis}"
    kind = "K14" if column else "K17" if start >= 1 << 14 else "K15"
    # Where elements that happen to be right come first, the edge is the next round number.
    for edge in dict.fromkeys((start, 1 << max(start - 1, 0).bit_length(), _rounder(start))):
        text = f"from index {edge} on, {name} are {what}"
        guess = partial(_from_index, axis=axis, start=edge, what=what)
        # A number of rows that no launch can have is no coincidence.
        cost = 0 if edge in (65535, 65536, 1 << 31) else 1
        yield Hypothesis(kind, text, guess, cost)


def _rounder(start: int) -> int:
    """The multiple of the largest power of two close below."""
    for bits in range(16, 0, -1):
        below = start >> bits << bits
        if below and start - below <= start // 16:
            return below
    return start
