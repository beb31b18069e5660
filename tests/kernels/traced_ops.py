"""Trace our kernels on all kinds of shapes and print what they did wrong, and how much they moved.

Run as a script: Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.kernels import interpreted  # isort: skip  # before torch can import Triton

import torch
from torch import Tensor

from normcheck.kernels import _slice_pass, _slice_plan
from normcheck.kernels._plan import plan_parts, plan_rows
from normcheck.kernels._slice_plan import SlicePlan, Slices, plan_slices, slices
from normcheck.kernels._traffic import (
    of_channels,
    of_channels_backward,
    of_rows,
    of_rows_backward,
)
from tests.kernels.memory_trace import Trace, traced

ROWS = {
    "rms_norm": ("weight",),
    "layer_norm": ("weight", "bias"),
    "l2_norm": (),
    "add_rms_norm": ("residual", "weight"),
    "add_layer_norm": ("residual", "weight", "bias"),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
# Of each kind of launch: many rows of a tile, rows of many chunks, and last, for two ops, as it
# takes hundreds of programs, several tiles of a program.
ROW_SHAPES = [
    (3, 7), (1, 1), (5, 1000), (300, 48), (1030, 4), (2, 9000), (2, 20000), (7, 128), (1040, 520),
]  # fmt: skip
# Shape, groups, and whether channels are the last axis in memory.
CHANNEL_SHAPES: list[tuple[tuple[int, ...], int, bool]] = [
    ((2, 6, 5, 5), 3, False),
    ((2, 6, 5, 5), 3, True),
    ((3, 8), 2, False),
    ((9, 4, 7), 4, False),
    ((2, 4, 70, 70), 1, False),
    ((2, 4, 70, 70), 2, True),
    ((1, 40, 33, 33), 2, False),
    ((70, 20), 5, False),
]


def made(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = math.prod(shape)
    return (torch.arange(count) * 37 % 101 - 50).div(16).reshape(shape).to(dtype)


def far_apart(tensor: Tensor, folder: str, axis: int = 0) -> Tensor:
    """Return the same numbers, the first or second axis over more than 2^31 elements.

    The memory between them is a hole in a file, and takes none.
    """
    if axis:
        return far_apart(tensor.transpose(0, axis).contiguous(), folder).transpose(0, axis)
    apart = (1 << 31) // (len(tensor) - 1) + 1
    count = apart * (len(tensor) - 1) + tensor[0].numel()
    file = str(Path(folder, f"{id(tensor)}"))
    memory = torch.from_file(file, shared=True, size=count, dtype=tensor.dtype)
    strides = (apart, *tensor.stride()[1:])
    return memory.as_strided(tensor.shape, strides).copy_(tensor)


def strided(tensor: Tensor, way: int) -> Tensor:
    """Lay the same numbers out otherwise: dense, every second, backwards by axes, beside others."""
    if way == 1:
        return torch.stack([tensor, tensor + 1], -1)[..., 0]
    if way == 2:
        return tensor.mT.contiguous().mT
    if way == 3:
        return torch.cat([tensor, tensor], -1)[..., : tensor.shape[-1]]
    return tensor


def run(call: Callable[..., Any], leaves: dict[str, Tensor], wanted: list[str]) -> Trace:
    """Call, differentiate by what is wanted, and find results that hold what nobody wrote."""
    for name in wanted:
        leaves[name].requires_grad_()
    with traced() as trace:
        found = call(**leaves)
        outputs = found if isinstance(found, tuple) else (found,)
        given = [strided(made(tuple(each.shape), each.dtype), 3) for each in outputs]
        gradients = torch.autograd.grad(outputs, [leaves[name] for name in wanted], given)
    for place, each in enumerate([*outputs, *gradients]):
        if missing := int(each.isnan().sum()):
            trace.faults.append(f"nobody wrote {missing} elements of result {place}")
    return trace


def rows_traced(op: str) -> Iterator[tuple[str, Trace, int]]:
    names = ROWS[op]
    shapes = ROW_SHAPES if op in ("layer_norm", "add_rms_norm") else ROW_SHAPES[:-1]
    for place, shape in enumerate(shapes):
        (rows, columns), kind = shape, DTYPES[(place + len(op)) % len(DTYPES)]
        x = strided(made(shape, kind), place % 4)
        leaves = {"x": x} | {
            name: made(shape if name == "residual" else (columns,), kind) for name in names
        }
        wanted = [name for name in leaves if name == "x" or (place + len(name)) % 3]
        trace = run(
            lambda **given: getattr(interpreted, op)(**given, mode=("fast", "strict")[place % 2]),  # noqa: B023
            leaves, wanted,
        )  # fmt: skip
        size, centred, adds = kind.itemsize, "layer" in op, "residual" in names
        parameters = [size for name in names if name != "residual"]
        sums = size * ("weight" in wanted), size * ("bias" in wanted)
        forward = plan_rows(rows, columns, size, [0], backward=False)
        plans = (
            plan_rows(rows, columns, size, [0], backward=True), plan_parts(rows, columns, size, [0])
        )  # fmt: skip
        planned = of_rows(rows, columns, size, parameters, forward, centred=centred, residual=adds)
        weight = size if "weight" in names else 0
        again = of_rows_backward(
            rows, columns, size, weight, sums, plans, centred=centred, residual=adds
        )
        yield f"{shape} {kind} {wanted}", trace, planned.moved + again.moved


def channels_traced(op: str, *, training: bool) -> Iterator[tuple[str, Trace, int]]:
    for place, (shape, groups, last) in enumerate(CHANNEL_SHAPES):
        kind, parameter = DTYPES[place % 4], torch.float32
        x = made(shape, kind)
        if last:
            x = x.to(memory_format=torch.channels_last)
        leaves = {"x": x} | {name: made(shape[1:2], parameter) for name in ("weight", "bias")}
        options: dict[str, Any] = {"mode": ("fast", "strict")[place % 2]}
        if op == "group_norm":
            options["num_groups"] = groups
        else:
            groups = 0
            options["training"] = training
            for name in ("running_mean", "running_var"):
                options[name] = made(shape[1:2], parameter).abs()
        wanted = ["x", "weight", "bias"][: 1 + place % 3]
        fixed = op == "batch_norm" and not training
        trace = run(lambda **given: getattr(interpreted, op)(**given, **options), leaves, wanted)  # noqa: B023
        x3 = x.detach().reshape(*shape[:2], -1)
        cut, plan = planned_slices(x3, groups)
        forward = of_channels(
            cut, plan, kind.itemsize, [4, 4], [4, 4] if fixed else [],
            variances=op == "batch_norm" and training,
        )  # fmt: skip
        backward = of_channels_backward(
            cut, plan, planned_slices(x3, groups and shape[1]), kind.itemsize, 4,
            [4] * (len(wanted) - 1), fixed=fixed,
        )  # fmt: skip
        yield f"{shape} {groups} {kind} {wanted}", trace, forward.moved + backward.moved


def planned_slices(x: Tensor, groups: int) -> tuple[Slices, SlicePlan]:
    cut = slices(x.shape, x.stride(), groups)
    return cut, plan_slices(cut, x.element_size(), [cut.strides(x.stride())], [0])


def far_traced(op: str) -> Iterator[tuple[str, Trace, int]]:
    """Rows of a kind that fits a program, and of one that does not, columns; slices likewise."""
    found: list[tuple[tuple[int, ...], int]] = [((4, 4, 6), 0), ((3, 2, 9000), 0)]
    if op in ROWS:
        found = [((4, 8), 0), ((3, 9000), 0), ((4, 8), 1)]
    for shape, axis in found:
        names = ROWS.get(op, ("weight", "bias"))
        wide = shape[-1:] if op in ROWS else shape[1:2]
        with tempfile.TemporaryDirectory() as folder:
            near = made(shape, torch.float16)
            leaves = {"x": far_apart(near, folder, axis)}
            for name in names:
                given = made(shape if name == "residual" else wide, torch.float16)
                leaves[name] = far_apart(given, folder, axis) if name == "residual" else given
            options: dict[str, Any] = {"num_groups": 2} if op == "group_norm" else {}
            options |= {"training": True} if op == "batch_norm" else {}
            call = partial(getattr(interpreted, op), **options)
            wanted = [name for name in leaves if name not in ("x", "residual")]
            expected = run(call, leaves | {"x": near}, wanted or ["x"]).moved
            yield f"{shape} far apart along {axis}", run(call, leaves, wanted or ["x"]), expected
            if op not in ROWS:
                with numbered_by_64_bits():
                    trace = run(call, leaves, wanted)
                yield f"{shape} numbered by 64 bits", trace, expected


@contextmanager
def numbered_by_64_bits() -> Iterator[None]:
    """Plan as for more than 2^31 slices."""
    with patch.object(_slice_plan, "_NARROW", 0):
        _slice_pass._planned.cache_clear()
        yield
    _slice_pass._planned.cache_clear()


def all_traced(op: str) -> Iterator[tuple[str, Trace, int]]:
    """Trace an op; yield the situation, what was seen, and the bytes that the plan says."""
    yield from far_traced(op)
    if op in ROWS:
        yield from rows_traced(op)
        return
    yield from channels_traced(op, training=True)
    if op == "batch_norm":
        yield from channels_traced(op, training=False)


def main() -> None:
    """Print {op: [[situation, faults, bytes moved, bytes planned], ...]}."""
    found = {
        op: [[name, trace.faults, trace.moved, planned] for name, trace, planned in all_traced(op)]
        for op in sys.argv[1:]
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
