"""The references that protocols compare with: PyTorch's own op, or the formula written out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.benchmarks.peers.protocol import Reference, Result, Sample

Forward = Callable[[Sample], Tensor]


def differentiated(forward: Forward) -> Reference:
    """Give a forward the gradients that autograd finds, if the sample asks for them."""

    def reference(sample: Sample) -> Result:
        if sample.dy is None:
            with torch.no_grad():
                return {"y": forward(sample)}
        leaves = {n: t.detach().clone().requires_grad_() for n, t in sample.leaves.items()}
        given = Sample(shape=sample.shape, eps=sample.eps, dy=sample.dy, **leaves)
        y = forward(given)
        found = torch.autograd.grad(y, list(leaves.values()), sample.dy)
        return {"y": y.detach()} | {f"d{n}": g for n, g in zip(leaves, found, strict=True)}

    return reference


def _in(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def _dims(sample: Sample) -> list[int]:
    return list(range(-len(sample.shape), 0))


def _layer_norm(sample: Sample, dtype: torch.dtype) -> Tensor:
    weight, bias = _in(sample.weight, dtype), _in(sample.bias, dtype)
    y = functional.layer_norm(sample.x.to(dtype), sample.shape, weight, bias, sample.eps)
    return y.to(sample.x.dtype)


def _rms_norm(sample: Sample, dtype: torch.dtype) -> Tensor:
    x, weight = sample.x.to(dtype), _in(sample.weight, dtype)
    root = torch.rsqrt(x.square().mean(_dims(sample), keepdim=True) + sample.eps)
    y = x * root
    return (y if weight is None else y * weight).to(sample.x.dtype)


def _written_out(sample: Sample) -> Tensor:
    mean = sample.x.mean(_dims(sample), keepdim=True)
    variance = (sample.x - mean).square().mean(_dims(sample), keepdim=True)
    y = (sample.x - mean) / torch.sqrt(variance + sample.eps)
    y = y if sample.weight is None else y * sample.weight
    return y if sample.bias is None else y + sample.bias


def _llama(sample: Sample) -> Tensor:
    x = sample.x.float()
    root = torch.rsqrt(x.square().mean(_dims(sample), keepdim=True) + sample.eps)
    y = (x * root).to(sample.x.dtype)
    return y if sample.weight is None else y * sample.weight


def in_dtype(op: str, dtype: torch.dtype | None = torch.float32) -> Reference:
    """Work in one dtype, the input's if none, and convert the result back.

    In half precision torch's own layer norm works in float32 on a GPU, where these protocols run;
    on a CPU its gradients do not (docs/findings.md), so float32 stands in for it.
    """
    if op == "rms_norm":
        return differentiated(lambda sample: _rms_norm(sample, dtype or sample.x.dtype))

    def forward(sample: Sample) -> Tensor:
        own = torch.promote_types(sample.x.dtype, torch.float32)
        return _layer_norm(sample, dtype or own)

    return differentiated(forward)


def written_out(op: str) -> Reference:
    """The formula in plain arithmetic, in the dtype of the input."""
    if op == "layer_norm":
        return differentiated(_written_out)
    return differentiated(lambda sample: _rms_norm(sample, sample.x.dtype))


def llama() -> Reference:
    """Statistics in float32; rounded to the input's dtype before the weight acts in it."""
    return differentiated(_llama)
