"""A right norm in small steps. A mutant replaces one step, and is wrong in just that way.

Values pass through ``read``, ``mean``, ``variance``, ``root``, ``affine`` and ``write``; ``call``
is all of them. Gradients come from autograd, unless a step of the backward is replaced: then they
are written out, from the inputs alone, so that they can be differentiated again.

A replacement gets the right step as its first argument, and then what the right step gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["Frame", "Norm", "Pair", "Step", "altered", "averaged", "spread", "wide"]

Step = Callable[..., Tensor]
Pair = Callable[..., tuple[Tensor, Tensor]]
_BACKWARD = ("read_dy", "saved", "weigh", "dx", "dw", "db", "give")


@dataclass(frozen=True, slots=True)
class Frame:
    """How one call sees its tensors.

    Attributes:
        view: Shape in which the reduction is a reduction over whole axes.
        axes: The axes of the view that are reduced.
        affine: Shape of weight and bias that broadcasts over the view.
        centred: Whether the mean is subtracted.
        summed: Whether the squares are summed, not averaged, and eps is a floor (L2 norm).
        fixed: Mean and variance that are given (evaluation mode).
    """

    view: tuple[int, ...]
    axes: tuple[int, ...]
    affine: tuple[int, ...] = ()
    centred: bool = True
    summed: bool = False
    fixed: tuple[Tensor, Tensor] | None = None

    @property
    def count(self) -> int:
        """Elements that one statistic is taken of."""
        return torch.Size(self.view[axis] for axis in self.axes).numel()


def wide(x: Tensor) -> Tensor:
    """Return ``x`` in the format that is accumulated in: float32, or float64 for float64."""
    return x if x.dtype == torch.float64 else x.float()


def averaged(h: Tensor, frame: Frame, *, summed: bool = False) -> Tensor:
    """Return the mean, or the sum, over the reduced axes, which stay as axes of size one."""
    kept = [axis for axis in range(h.dim()) if axis not in frame.axes]
    # torch sums one contiguous axis in blocks, but strided axes serially.
    flat = h.permute(*kept, *frame.axes).flatten(len(kept)).contiguous()
    found = flat.sum(-1) if summed else flat.mean(-1)
    return found.reshape([1 if a in frame.axes else size for a, size in enumerate(h.shape)])


def spread(statistic: Tensor, view: tuple[int, ...]) -> Tensor:
    """Return ``statistic`` expanded to ``view``; its gradient is summed in blocks, as `averaged`.

    Broadcasting would sum it over strided axes, which torch does serially.
    """
    axes = [axis for axis, size in enumerate(statistic.shape) if size != view[axis]]
    if not axes:
        return statistic
    order = [axis for axis in range(len(view)) if axis not in axes] + axes
    sizes = [view[axis] for axis in order]
    kept = len(view) - len(axes)
    flat = statistic.permute(order).reshape(*sizes[:kept], 1)
    flat = flat.expand(*sizes[:kept], torch.Size(sizes[kept:]).numel())
    return flat.reshape(sizes).permute([order.index(axis) for axis in range(len(view))])


def _read(x: Tensor, frame: Frame) -> Tensor:
    return wide(x).reshape(frame.view)


def _mean(h: Tensor, frame: Frame) -> Tensor:
    return averaged(h, frame)


def _variance(h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    squares = (h - spread(mean, frame.view)).square() if frame.centred else h.square()
    return averaged(squares, frame, summed=frame.summed)


def _statistics(h: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    mean = _mean(h, frame) if frame.centred else h.new_zeros(())
    return mean, _variance(h, mean, frame)


def _root(variance: Tensor, eps: float, frame: Frame) -> Tensor:
    if not frame.summed:
        return torch.rsqrt(variance + eps)
    positive = variance > 0  # the root has no derivative at zero
    return 1.0 / (torch.where(positive, variance, 1.0).sqrt() * positive).clamp_min(eps)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame) -> Tensor:
    # Widened first, so that the gradients are summed wide too.
    if weight is not None:
        y = y * spread(weight.to(y.dtype).reshape(frame.affine), frame.view)
    return y if bias is None else y + spread(bias.to(y.dtype).reshape(frame.affine), frame.view)


def _write(y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    return y.reshape(x.shape).to(x.dtype)


def _saved(x_hat: Tensor, variance: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """What the forward hands to the backward: normalised values and reciprocal root."""
    return x_hat, root


def _weigh(d: Tensor, weight: Tensor | None, frame: Frame) -> Tensor:
    return d if weight is None else d * weight.reshape(frame.affine)


def _dx(g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    if frame.fixed is not None:
        return g * root
    mean: Tensor | float = averaged(g, frame) if frame.centred else 0.0
    return (g - mean - x_hat * averaged(g * x_hat, frame)) * root


def _summed(terms: Tensor, frame: Frame) -> Tensor:
    rows = tuple(axis for axis, size in enumerate(frame.affine) if size == 1)
    return averaged(terms, replace(frame, axes=rows), summed=True)


def _give(dx: Tensor, dw: Tensor | None, db: Tensor | None, needed: tuple[bool, ...]) -> Any:
    return dx, dw, db


class Norm:
    """A norm with at most one step replaced.

    Attributes:
        steps: The steps by name.
        written_out: Whether gradients are written out, because a step of theirs is replaced.
    """

    def __init__(self, step: str = "", fault: Callable[..., Any] | None = None) -> None:
        self.steps: dict[str, Callable[..., Any]] = {
            "call": self._forward, "read": _read, "mean": _mean, "variance": _variance,
            "root": _root, "affine": _affine, "write": _write, "read_dy": _read, "saved": _saved,
            "weigh": _weigh, "dx": _dx, "dw": _summed, "db": _summed, "give": _give,
        }  # fmt: skip
        self.steps.update(self.more_steps())
        if fault is not None:
            self.steps[step] = partial(fault, self.steps[step])
        self.written_out = step in _BACKWARD

    def more_steps(self) -> dict[str, Callable[..., Any]]:
        """Return the steps that this op has beyond the common ones."""
        return {}

    def norm(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
    ) -> Tensor:
        """Normalise ``x``, of any shape that the frame's view can be reshaped to."""
        y: Tensor = self.steps["call"](x, weight, bias, eps, frame)
        return y

    def statistics(self, h: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        """Return mean and variance of ``h``, which has the shape of the view."""
        mean = self.steps["mean"](h, frame) if frame.centred else h.new_zeros(())
        return mean, self.steps["variance"](h, mean, frame)

    def _forward(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
    ) -> Tensor:
        if self.written_out:
            y: Tensor = _WrittenOut.apply(x, weight, bias, self, eps, frame)  # type: ignore[no-untyped-call]
            return y
        return self.values(x, weight, bias, eps, frame)

    def values(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
    ) -> Tensor:
        """Return the output, differentiable by autograd."""
        h = self.steps["read"](x, frame)
        mean, variance = frame.fixed or self.statistics(h, frame)
        root = self.steps["root"](variance, eps, frame)
        x_hat = (h - spread(mean, frame.view) if frame.centred else h) * spread(root, frame.view)
        y: Tensor = self.steps["write"](self.steps["affine"](x_hat, weight, bias, frame), x, frame)
        return y

    def gradients(
        self, dy: Tensor, x: Tensor, affine: tuple[Tensor | None, Tensor | None], eps: float,
        frame: Frame, needed: tuple[bool, ...],
    ) -> Any:  # fmt: skip
        """Return the gradients of x, weight and bias; None where there is no such parameter."""
        weight, bias = affine
        h, d = _read(x, frame), self.steps["read_dy"](dy, frame)
        mean, variance = frame.fixed or _statistics(h, frame)
        root = _root(variance, eps, frame)
        x_hat, root = self.steps["saved"]((h - mean) * root, variance, root)
        dx = self.steps["dx"](self.steps["weigh"](d, weight, frame), x_hat, root, frame)
        dw = db = None
        if weight is not None:
            dw = self.steps["dw"](d * x_hat, frame).reshape(weight.shape).to(weight.dtype)
        if bias is not None:
            db = self.steps["db"](d, frame).reshape(bias.shape).to(bias.dtype)
        return self.steps["give"](dx.reshape(x.shape).to(x.dtype), dw, db, needed)


class _WrittenOut(torch.autograd.Function):
    """Right values with the gradients of a `Norm`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Any, b: Any, norm: Norm, eps: float, frame: Frame
    ) -> Tensor:
        ctx.save_for_backward(x, w, b)
        ctx.norm, ctx.eps, ctx.frame = norm, eps, frame
        return norm.values(x, w, b, eps, frame)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w, b = ctx.saved_tensors
        found = ctx.norm.gradients(dy, x, (w, b), ctx.eps, ctx.frame, ctx.needs_input_grad[:3])
        return *found, None, None, None


class _Altered(torch.autograd.Function):
    """The identity, with a gradient that a function changes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Step) -> Tensor:
        ctx.change = change
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        return ctx.change(d), None


def altered(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``x``; the gradient that flows back through it is changed on its way."""
    y: Tensor = _Altered.apply(x, change)  # type: ignore[no-untyped-call]
    return y
