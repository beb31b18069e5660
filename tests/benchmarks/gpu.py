"""Time our kernels beside torch's functions, compiled ones and installed peers, in one run.

    python tests/benchmarks/gpu.py --json gpu.json

Each figure is a fraction of the copy bandwidth of the same run, on the bytes that any
implementation has to move. On a GPU time is that of CUDA events. With ``--device cpu`` torch's
operators stand in for our kernels, and the figures say nothing: it shows that the script runs.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor
from torch.nn import functional

from normcheck.bench.clock import clock_of, timing
from normcheck.kernels._plan import plan_parts, plan_rows
from normcheck.kernels._slice_plan import plan_slices, slices
from normcheck.kernels._traffic import (
    Traffic,
    of_channels,
    of_channels_backward,
    of_rows,
    of_rows_backward,
)
from tests.benchmarks.gpu_figures import (
    COMPILED,
    EAGER,
    OURS,
    STRICT,
    Figure,
    behind,
    keep,
    line,
)

ROW_OPS = ("layer_norm", "rms_norm", "l2_norm", "add_rms_norm", "add_layer_norm")
CHANNEL_OPS = ("group_norm", "batch_norm")
COLUMNS = (256, 512, 1000, 1024, 2048, 4096, 4104, 8192, 16384, 32768, 65536, 131072)
POSITIONS = (7, 14, 28, 56, 64, 112)
CHANNELS, GROUPS = 256, 32
# Our adaptors, and what they adapt.
PEERS = {"liger_kernel": "liger_kernel", "flash_linear_attention": "fla", "flag_gems": "flag_gems"}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def torchs(op: str) -> Callable[..., Any]:
    """Return what a user of torch writes."""

    def plain(
        x: Tensor, residual: Tensor | None = None, weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Any:  # fmt: skip
        total = x if residual is None else x + residual
        if op == "group_norm":
            return functional.group_norm(x, GROUPS, weight, bias)
        if op == "batch_norm":
            return functional.batch_norm(x, None, None, weight, bias, training=True)
        if op == "l2_norm":
            return functional.normalize(x, dim=-1)
        if "layer" in op:
            y = functional.layer_norm(total, x.shape[-1:], weight, bias)
        else:
            y = functional.rms_norm(total, x.shape[-1:], weight, 1e-6)
        return y if residual is None else (y, total)

    return plain


def implementations(op: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield what there is for an op."""
    ours = getattr(importlib.import_module(f"normcheck.kernels.{op}"), op)
    more: dict[str, Any] = {"num_groups": GROUPS} if op == "group_norm" else {}
    more |= {"training": True} if op == "batch_norm" else {}
    yield OURS, lambda **given: ours(**given, **more)
    yield STRICT, lambda **given: ours(**given, **more, mode="strict")
    yield EAGER, torchs(op)
    yield COMPILED, compiled(op)
    for name, library in PEERS.items():
        adaptor = importlib.import_module(f"normcheck.survey.adaptors.{name}")
        if find_spec(library) is not None and hasattr(adaptor, op):
            yield library, _filled(getattr(adaptor, op))
    if op.endswith("rms_norm") and find_spec("quack") is not None:
        rmsnorm = importlib.import_module("quack").rmsnorm
        yield "quack", lambda **given: rmsnorm(**given, eps=1e-6, prenorm="residual" in given)


def compiled(op: str) -> Callable[..., Any]:
    """Return torch's function, compiled anew for every shape: dynamo gives up after eight."""
    made: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def call(**given: Tensor) -> Any:
        x = given["x"]
        key = x.shape, x.dtype, x.requires_grad
        if key not in made:
            torch._dynamo.reset()
            made.clear()
            made[key] = torch.compile(torchs(op), dynamic=False, fullgraph=True)
        return made[key](**given)

    return call


def _filled(peer: Callable[..., Any]) -> Callable[..., Any]:
    """Call an adaptor with what it takes."""
    takes = inspect.signature(peer).parameters

    def call(x: Tensor, **given: Tensor) -> Any:
        known = given | {"normalized_shape": x.shape[-1:], "num_groups": GROUPS, "eps": 1e-6}
        return peer(x, **{name: known.get(name) for name in takes if name != "x"})

    return call


def inputs(op: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Draw the tensors of a call."""
    wide = shape[-1] if op in ROW_OPS else shape[1]
    found = {"x": torch.randn(shape, dtype=dtype, device=device)}
    if op.startswith("add"):
        found["residual"] = torch.randn(shape, dtype=dtype, device=device)
    if op != "l2_norm":
        found["weight"] = torch.randn(wide, dtype=dtype, device=device)
    if "layer" in op or op in CHANNEL_OPS:
        found["bias"] = torch.randn(wide, dtype=dtype, device=device)
    return found


def traffic(op: str, given: dict[str, Tensor]) -> dict[str, Traffic]:
    """Return what each direction has to move, and what our kernels do."""
    x, size = given["x"], given["x"].element_size()
    parameters = [size for name in ("weight", "bias") if name in given]
    if op in ROW_OPS:
        rows, columns = x.shape
        centred, residual = "layer" in op, "residual" in given
        plans = [plan_rows(rows, columns, size, [0], backward=back) for back in (False, True)]
        forward = of_rows(
            rows, columns, size, parameters, plans[0], centred=centred, residual=residual
        )
        backward = of_rows_backward(
            rows, columns, size, size * ("weight" in given),
            (size * ("weight" in given), size * ("bias" in given)),
            (plans[1], plan_parts(rows, columns, size, [0])), centred=centred, residual=residual,
        )  # fmt: skip
        return {"forward": forward, "backward": backward}
    lines = x.reshape(*x.shape[:2], -1)
    groups = GROUPS if op == "group_norm" else 0
    cut = slices(lines.shape, lines.stride(), groups)
    plan = plan_slices(cut, size, [cut.strides(lines.stride())], [0])
    there = of_channels(cut, plan, size, parameters, [], variances=not groups)
    back = of_channels_backward(cut, plan, (cut, plan), size, size, [size, size], fixed=False)
    return {"forward": there, "backward": back}


def figures(op: str, shape: tuple[int, ...], dtype: str, device: str, least_s: float,
            calls: dict[str, Callable[..., Any]]) -> Iterator[Figure | str]:  # fmt: skip
    """Time all implementations on one shape; of one that raises, say what."""
    given = inputs(op, shape, DTYPES[dtype], device)
    clock = clock_of(torch.device(device), least_s)
    source, target = given["x"], torch.empty_like(given["x"])
    copy = timing(clock.seconds(lambda: None, lambda _: target.copy_(source))).median
    rate = 2 * source.nbytes / copy
    leaves = {name: each.clone().requires_grad_() for name, each in given.items()}
    for direction, bytes_ in traffic(op, given).items():
        for name, call in calls.items():
            try:
                step = _step(call, given if direction == "forward" else leaves, direction)
                seconds = timing(clock.seconds(step, _call)).median
            except Exception as error:
                # A peer may have no such direction, or not take the shape; the others go on.
                yield f"{op} {direction} {shape} {dtype}: {name} raised {error!r:.300}"
                continue
            floor = bytes_.floor
            # Time only: not the peers' bytes, and not what the cache saves.
            reachable = floor / bytes_.moved
            of_copy = floor / seconds / rate
            yield Figure(op, shape, dtype, direction, name, seconds, floor, of_copy, reachable)


def _call(step: Callable[[], object]) -> object:
    return step()


def _step(
    call: Callable[..., Any], given: dict[str, Tensor], direction: str
) -> Callable[[], Callable[[], Any]]:
    """Return what makes the step that is timed; the forward is not part of the backward."""
    if direction == "forward":
        return lambda: lambda: call(**given)
    found = call(**given)
    outputs = found if isinstance(found, tuple) else (found,)
    leaves, dy = list(given.values()), [torch.randn_like(each) for each in outputs]
    return lambda: lambda: torch.autograd.grad(outputs, leaves, dy, retain_graph=True)


def shapes_of(op: str, elements: int, widths: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield shapes of about so many elements."""
    for width in widths:
        if op in ROW_OPS:
            yield max(1, elements // width), width
        else:
            yield max(2, elements // (CHANNELS * width * width)), CHANNELS, width, width


def main() -> int:
    """Time, print a table, write JSON; return 1 where a kernel is behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--op", nargs="+", default=[*ROW_OPS, *CHANNEL_OPS])
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"])
    parser.add_argument("--width", nargs="+", type=int, help="columns, or positions a side")
    parser.add_argument("--elements", type=int, default=1 << 27)
    parser.add_argument("--seconds", type=float, default=0.2, help="of one measurement, at least")
    parser.add_argument("--uncompiled", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    found: list[Figure] = []
    raised: list[str] = []
    for op in words.op:
        calls = dict(implementations(op))
        if words.uncompiled:
            del calls[COMPILED]
        widths = words.width or list(COLUMNS if op in ROW_OPS else POSITIONS)
        for shape in shapes_of(op, words.elements, widths):
            for dtype in words.dtype:
                for figure in figures(op, shape, dtype, words.device, words.seconds, calls):
                    if isinstance(figure, str):
                        raised.append(figure)
                    else:
                        found.append(figure)
                    sys.stdout.write(f"{line(figure)}\n")
                # What was measured stays, whatever ends the next one.
                if words.json:
                    keep(words.json, words.device, found, raised, finished=False)
    if words.json:
        keep(words.json, words.device, found, raised, finished=True)
    missed = list(behind(found))
    sys.stdout.write("\n".join(["", *missed, f"{len(missed)} behind"]) + "\n")
    own = [said for said in raised if any(f": {name} raised" in said for name in (OURS, STRICT))]
    return bool(missed or own)


if __name__ == "__main__":
    sys.exit(main())
