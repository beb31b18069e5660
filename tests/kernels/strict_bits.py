"""Compare mode "strict" with its model, bit for bit, and print how many cases differ.

Run as a script: Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from itertools import cycle, product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.kernels.device import DEVICE  # isort: skip  # before torch can import Triton

import torch
from torch import Tensor

from tests.kernels import strict_channels, strict_model
from tests.kernels.strict_channels import Channels
from tests.kernels.strict_model import Norm

SHAPES = [
    (1, 1), (1, 2), (2, 1), (3, 3), (5, 7), (2, 31), (4, 32), (3, 33), (7, 64), (2, 100), (9, 127),
    (1, 128), (3, 129), (2, 257), (20, 8), (600, 2), (33, 5), (2, 1000), (1, 1023), (1, 4097),
    (300, 48), (1100, 4), (1, 8193), (2, 5000),
]  # fmt: skip
# The trees of most lengths are in short rows.
SHAPES += [(1 + 7 * place % 9, 1 + 37 * place % 131) for place in range(180)]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}
KINDS: dict[str, dict[str, Any]] = {
    "rms_norm": {"kind": "rms", "weight": True},
    "layer_norm": {"kind": "layer", "weight": True, "bias": True},
    "l2_norm": {"kind": "l2"},
    "add_rms_norm": {"kind": "rms", "weight": True, "residual": True},
    "add_layer_norm": {"kind": "layer", "weight": True, "bias": True, "residual": True},
}
VARIANTS = [{}, {"one_plus": True}, {"cast": True}]
# Samples, channels and positions; groups; whether channels are the last axis in memory.
CUTS: list[tuple[tuple[int, ...], int, bool]] = [
    ((2, 6, 5, 5), 3, False), ((2, 6, 5, 5), 3, True), ((3, 8), 2, False), ((9, 4, 7), 4, False),
    ((2, 4, 9, 3), 1, True), ((1, 6, 70, 60), 1, False), ((1, 4, 80, 70), 1, True),
    ((70, 20), 5, False), ((2, 1100), 1, False), ((2, 6, 3, 3), 6, True),
    ((40, 3, 25, 20), 3, False),
]  # fmt: skip
CUTS += [
    ((2 + 5 * place % 7, (1 + place % 3) * (1 + place % 4), 1 + 7 * place % 11, 1 + place % 5),
     1 + place % 3, place % 2 == 0)
    for place in range(192)
]  # fmt: skip
# More samples than a block of their sums holds.
CUTS += [((1200, 3), 1, False)]
CHANNEL_OPS = ("group_norm", "batch_norm")


def kernel(op: str) -> Any:
    return getattr(importlib.import_module(f"normcheck.kernels.{op}"), op)


def values(rows: int, columns: int, dtype: torch.dtype, scale: float, seed: int) -> Tensor:
    bell = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * scale
    # A large mean, an outlier, and numbers below the smallest normal one.
    bell[::3] += 30 * scale
    bell[::5, 0] *= 1e3
    bell[1::4] *= 1e-20
    return bell.to(dtype)


def differs(op: str, shape: tuple[int, int], dtype: torch.dtype, variant: dict[str, bool]) -> bool:
    made, (rows, columns) = KINDS[op], shape
    seed = rows * 131 + columns
    given = {"x": values(rows, columns, dtype, 1.0, seed)}
    if made.get("residual"):
        given["residual"] = values(rows, columns, dtype, 0.5, seed + 1)
    for name in ("weight", "bias"):
        if made.get(name):
            given[name] = values(1, columns, dtype, 1.0, seed)[0]
    norm = Norm(made["kind"], 1e-12 if made["kind"] == "l2" else 1e-5, **variant)
    options: dict[str, Any] = {}
    if made["kind"] != "l2":
        options["zero_centered"] = norm.one_plus
        options["rounding"] = "cast_then_scale" if norm.cast else "fused"
    leaves = {name: each.clone().to(DEVICE).requires_grad_() for name, each in given.items()}
    found = kernel(op)(**leaves, eps=norm.eps, mode="strict", **options)
    outputs = found if isinstance(found, tuple) else (found,)
    y, total, mean, root = strict_model.forward(norm, **given)
    expected = [y, total][: len(outputs)]
    dy = [values(rows, columns, dtype, 1.0, seed + 2 + place) for place in range(len(outputs))]
    there = [each.to(DEVICE) for each in dy]
    gradients = torch.autograd.grad(outputs, list(leaves.values()), there)
    dx, dweight, dbias = strict_model.backward(
        norm, dy[0], total, given.get("weight"), mean, root, dy[1] if len(dy) > 1 else None
    )
    sums = {"weight": dweight, "bias": dbias}
    expected += [torch.from_numpy(sums[n]).to(dtype) if n in sums else dx for n in leaves]
    pairs = zip([*outputs, *gradients], expected, strict=True)
    return not all(same_bits(computed, model) for computed, model in pairs)


def channels_differ(
    op: str, cut: tuple[tuple[int, ...], int, bool], dtype: torch.dtype, variant: dict[str, bool]
) -> bool:
    shape, groups, last = cut
    count, fixed = shape[1], op == "batch_norm" and shape[0] % 3 == 2
    flat = values(shape[0], math.prod(shape[1:]), dtype, 1.0, math.prod(shape))
    x, dy = flat.reshape(shape), flat.flip(0, 1).reshape(shape)
    if last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    weight, bias, mean, variance = values(4, count, torch.float32, 1.0, count)
    variance = variance.abs()
    norm = Norm("layer", 1e-5, **variant)
    given = {"x": x, "weight": weight, "bias": bias}
    leaves = {name: each.clone().to(DEVICE).requires_grad_() for name, each in given.items()}
    options: dict[str, Any] = {"num_groups": groups} if op == "group_norm" else {
        "running_mean": mean.clone().to(DEVICE), "running_var": variance.clone().to(DEVICE),
        "training": not fixed,
    }  # fmt: skip
    options |= {"eps": norm.eps, "mode": "strict", "zero_centered": norm.one_plus}
    options["rounding"] = "cast_then_scale" if norm.cast else "fused"
    y = kernel(op)(**leaves, **options)
    gradients = torch.autograd.grad(y, list(leaves.values()), dy.to(DEVICE))
    kind = Channels(groups if op == "group_norm" else 0, last and len(shape) == 4)
    model, means, roots, variances = strict_channels.forward(
        norm, kind, x, weight, bias, (mean, variance) if fixed else None
    )
    dx, dweight, dbias = strict_channels.backward(
        norm, kind, dy, x, weight, means, roots, fixed=fixed
    )
    sums = [torch.from_numpy(each).float() for each in (dweight, dbias)]
    pairs = [(y, model), *zip(gradients, [dx, *sums], strict=True)]
    if op == "batch_norm" and not fixed:
        for name, before, found in (("mean", mean, means), ("var", variance, variances)):
            of_batch = torch.from_numpy(found)
            moved = (before.to(of_batch.dtype) * (1 - 0.1) + of_batch * 0.1).to(before.dtype)
            pairs.append((options[f"running_{name}"], moved))
    return not all(same_bits(computed, expected) for computed, expected in pairs)


def same_bits(computed: Tensor, model: Tensor) -> bool:
    """Whether all numbers are the same; a NaN has no sign that matters.

    Nor has a zero here: NumPy's sum, which the interpreter takes, is +0 for -0 and -0.
    """
    computed = computed.cpu()
    same = (computed == model) | (computed.isnan() & model.isnan())
    return computed.dtype == model.dtype and bool(same.all())


def main() -> None:
    """Print {op: {dtype: [cases, ids of those that differ]}} of so many cases of such ops."""
    found: dict[str, dict[str, tuple[int, list[str]]]] = {}
    most, *ops = sys.argv[1:]
    for op, dtype in product(ops or [*KINDS, *CHANNEL_OPS], DTYPES):
        judge: Any = channels_differ if op in CHANNEL_OPS else differs
        cases: list[Any] = (CUTS if op in CHANNEL_OPS else SHAPES)[: int(most)]
        variants = VARIANTS if op != "l2_norm" else VARIANTS[:1]
        wrong = [
            f"{case} {variant}"
            for case, variant in zip(cases, cycle(variants))
            if judge(op, case, DTYPES[dtype], variant)
        ]
        found.setdefault(op, {})[dtype] = (len(cases), wrong)
    sys.stdout.write(json.dumps(found))
    sys.exit(any(wrong for each in found.values() for _, wrong in each.values()))


if __name__ == "__main__":
    main()
