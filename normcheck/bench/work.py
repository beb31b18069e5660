"""What is timed: the inputs, a prepared call of an implementation, and what it has to move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.bench.document import Direction
from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import output_format
from normcheck.ops.op import Family, Op
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter
from normcheck.targets.frameworks import Call

__all__ = ["SIZES", "Work", "least_bytes", "plain_case", "prepare", "shape_of"]

SIZES = {Family.ROWS: (256, 1024, 4096, 16384), Family.CHANNELS: (7, 14, 28, 56)}
_ROWS, _SAMPLES, _CHANNELS, _GROUPS = 1024, 16, 64, 32
_RUNNING = ("running_mean", "running_var")
# What no gradient depends on, or only through its sum with x, which is read in its place.
_NOT_READ_BACK = ("bias", "residual", *_RUNNING)


def shape_of(op: Op, size: int, rows: int | None = None) -> tuple[int, ...]:
    """Return the shape of ``x``: (rows, size), or (samples, channels, size, size)."""
    if op.family is Family.ROWS:
        return (rows or _ROWS, size)
    return (rows or _SAMPLES, _CHANNELS, size, size)


def plain_case(op: Op, dtype: str, shape: tuple[int, ...]) -> Case:
    """Return bell-shaped inputs of a shape, or of the nearest that the op has a meaning for."""
    groups = _GROUPS if op.parameter("num_groups") else 1
    return Case(op.name, dtype, op.shaped(shape) or shape, "plain", groups=groups)


@dataclass(frozen=True, slots=True)
class Work:
    """One prepared call.

    Attributes:
        call: Of the implementation, with tensors of its own.
        dy: Per output, the gradient that is fed back.
    """

    call: Call
    dy: Mapping[str, Tensor]

    def forward(self) -> dict[str, Tensor]:
        """Call once."""
        return self.call.run()

    def backward(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Differentiate what a call returned, once.

        Raises:
            NoGradientError: There is no gradient.
        """
        return self.call.backward(outputs, self.dy)


def prepare(adapter: Adapter, inputs: Inputs, device: torch.device, *, gradients: bool) -> Work:
    """Make ready to call on copies of the inputs.

    Args:
        adapter: The implementation.
        inputs: On the CPU.
        device: Where it is to run.
        gradients: Whether `Work.backward` will be called.
    """
    tensors = {name: t.to(device, copy=True) for name, t in inputs.tensors.items()}
    dy = {name: t.to(device, copy=True) for name, t in inputs.dy.items()}
    for parameter in inputs.op.tensors:
        if gradients and parameter.differentiable and parameter.name in tensors:
            tensors[parameter.name].requires_grad_()
    return Work(adapter.prepare(inputs, tensors), dy)


def least_bytes(inputs: Inputs, direction: Direction, policy: Policy) -> int:
    """Return the bytes that any implementation has to move.

    Forward reads the inputs and writes the outputs, once each; running statistics are read and
    written. Backward reads what the gradients depend on and the gradients that are fed in, and
    writes those that come out. Where a residual is added to ``x``, it reads their sum, and one
    gradient is both's.
    """
    sizes = {name: t.numel() * t.element_size() for name, t in inputs.tensors.items()}
    outputs = sum(t.numel() for t in inputs.dy.values())
    outputs *= output_format(inputs, policy).itemsize
    if direction is Direction.FORWARD:
        updated = sum(sizes.get(name, 0) for name in _RUNNING if inputs.case.mode == "train")
        return sum(sizes.values()) + updated + outputs
    read = sum(size for name, size in sizes.items() if name not in _NOT_READ_BACK)
    written = sum(
        sizes[p.name]
        for p in inputs.op.tensors
        if p.differentiable and p.name in sizes and p.name != "residual"
    )
    return read + outputs + written
