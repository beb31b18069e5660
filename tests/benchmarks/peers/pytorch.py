"""PyTorch's own tests, BackendBench, which takes its samples from them, and ONNX."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tests.benchmarks.peers.data import Draw
from tests.benchmarks.peers.protocol import Check, Implementation, Protocol, Sample, against
from tests.benchmarks.peers.reference import in_dtype, written_out
from tests.benchmarks.peers.rules import close, default_close, each

SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...], float], ...] = (
    ((1, 2, 3), (1, 2, 3), 0.5),
    ((2, 2, 3), (2, 3), -0.5),
    ((1,), (1,), 1e-5),
    ((1, 2), (2,), 1e-5),
    ((0, 1), (1,), 1e-5),
)


def samples(op: str, dtype: torch.dtype, variants: tuple[tuple[bool, bool], ...]) -> list[Sample]:
    """OpInfo's samples: at most 12 elements; (weight, bias) present or not per variant."""
    draw = Draw(1)
    low, high = (-9.0, 9.0) if op == "layer_norm" else (-9.0, 1000.0)
    found = []
    for size, shape, eps in SHAPES:
        for has_weight, has_bias in variants:
            x = draw.uniform(*size, low=low, high=high, dtype=dtype)
            weight, bias = (draw.uniform(*shape, low=-9, high=9, dtype=dtype) for _ in range(2))
            has_bias = has_bias and op == "layer_norm"
            pair = weight if has_weight else None, bias if has_bias else None
            found.append(Sample(x, shape, *pair, eps))
    x = draw.uniform(1, 2, low=low, high=high, dtype=dtype)
    return [*found, Sample(x, (2,))]


def _spread(tensor: Tensor) -> Tensor:
    """The same values with a gap behind each."""
    if tensor.dim() == 0:
        return tensor
    base = torch.full((*tensor.shape, 2), math.nan, dtype=tensor.dtype)
    base[..., 0] = tensor
    return base[..., 0]


def _agrees_when_strided(sample: Sample) -> Check:
    def check(implementation: Implementation) -> bool:
        apart = {name: _spread(tensor) for name, tensor in sample.leaves.items()}
        strided = implementation(replace(sample, **apart))  # type: ignore[arg-type]
        return each(default_close(sample.x.dtype))(strided, implementation(sample))

    return check


def _numerical_gradients(sample: Sample) -> Check:
    """Differences quotients in float64, along random directions, as the fast mode takes them."""

    def check(implementation: Implementation) -> bool:
        if implementation.forward_only:
            return True
        names = list(sample.leaves)
        leaves = [t.clone().requires_grad_() for t in sample.leaves.values()]

        def output(*tensors: Tensor) -> Tensor:
            given = dict(zip(names, tensors, strict=True))
            return implementation.output(replace(sample, **given))  # type: ignore[arg-type]

        try:
            return torch.autograd.gradcheck(output, leaves, raise_exception=False, fast_mode=True)
        except RuntimeError:
            return False  # gradcheck stumbles over some gradients instead of judging them

    return check


def op_info(op: str) -> Iterator[Check]:
    found = samples(op, torch.float64, ((True, True),))
    for sample in found:
        yield against(sample, written_out(op), each(default_close(torch.float64)))
    for sample in found:
        yield _agrees_when_strided(sample)
    for sample in found:
        yield _numerical_gradients(sample)


def numeric(op: str) -> Iterator[Check]:
    shape = (256, 256, 144)
    x = Draw(2).uniform(1, *shape, low=0, high=1)
    sample = Sample(x, shape, torch.ones(shape), torch.zeros(shape))
    yield against(sample, written_out(op), each(close(0, 1e-5)))


def backend_bench(op: str) -> Iterator[Check]:
    presence = ((True, True), (False, True), (True, False), (False, False))
    for sample in samples(op, torch.float32, presence):
        yield against(sample, in_dtype(op, None), each(close(1e-2, 1e-2, equal_nan=True)))


def onnx(op: str) -> Iterator[Check]:
    draw = Draw(3)
    for size, eps in (((2, 3, 4, 5), 1e-5), ((3, 4), 1e-5), ((2, 3, 5), 0.1)):
        for axis in range(len(size)):
            shape = size[axis:]
            bias = draw.normal(*shape) if op == "layer_norm" else None
            sample = Sample(draw.normal(*size), shape, draw.normal(*shape), bias, eps)
            yield against(sample, written_out(op), each(close(1e-3, 1e-7, equal_nan=True)))


_OP_INFO = "PyTorch OpInfo"
_SOURCE = "torch 2.13.0, `common_methods_invocations.py`"
_RULE = "6 samples of at most 12 elements, float64, U(-9, 9); 1e-7 and gradcheck"
_BATCHED = "batched gradients, second derivatives and forward mode left out"
PROTOCOLS = (
    Protocol(_OP_INFO, "layer_norm", _SOURCE, "y, dx, dw, db", _RULE, op_info, _BATCHED),
    Protocol(
        _OP_INFO, "rms_norm", _SOURCE, "y, dx, dw", _RULE.replace("9)", "1000)"), op_info, _BATCHED
    ),
    Protocol(
        "PyTorch LayerNorm_numeric",
        "layer_norm",
        "torch 2.13.0, `test_nn.py`",
        "y",
        "float32, U(0, 1), 9.4e6 columns, weight 1; atol 1e-5",
        numeric,
        "1 row of 2",
    ),
    Protocol(
        "BackendBench OpInfo suite",
        "layer_norm",
        "BackendBench 66e0dbc",
        "y",
        "OpInfo's samples; rtol = atol = 1e-2, NaN equals NaN",
        backend_bench,
        "float32 alone; FACTO and traced suites left out",
    ),
    *(
        Protocol(
            "ONNX backend tests",
            op,
            "onnx f7546912",
            "y",
            "up to 120 elements, float32, N(0, 1); rtol 1e-3, atol 1e-7, NaN equals NaN",
            onnx,
            "mean and inverse deviation, which a function does not return",
        )
        for op in ("layer_norm", "rms_norm")
    ),
)
