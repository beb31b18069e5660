"""Implementations to judge: a target of normcheck, called with a protocol's own tensors."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs
from normcheck.config import DTYPES
from normcheck.ops import catalogue
from normcheck.ops.op import Settings
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter
from normcheck.targets.target import load
from tests.benchmarks.peers.protocol import RefusalError, Result, Sample


class Subject:
    """A function bound to an op by name, as `normcheck.run` binds it.

    Attributes:
        dtypes: Where `normcheck.run` judges it; a protocol has its own.
    """

    def __init__(
        self,
        name: str,
        target: str,
        op: str,
        *,
        policies: tuple[str, ...] = (),
        forward_only: bool = False,
        dtypes: tuple[str, ...] = DTYPES,
    ) -> None:
        self.name, self.target, self.op = name, target, op
        self.policies, self.forward_only, self.dtypes = policies, forward_only, dtypes
        self.inplace = bool(Policy.parse(policies).inplace)

    @cached_property
    def adapter(self) -> Adapter:
        return load(self.target, catalogue.find(self.op), Policy.parse(self.policies))

    def output(self, sample: Sample) -> Tensor:
        """Return y, attached to whichever tensors of the sample require gradients.

        Raises:
            RefusalError: The implementation raised or returned no tensor.
        """
        flat = self._flat(sample)
        tensors = flat.leaves
        if self.inplace:
            tensors["x"] = flat.x.clone()
        try:
            y = self.adapter.prepare(self._inputs(flat), tensors).run()["y"]
        except Exception as error:
            raise RefusalError(f"{self.name}: {type(error).__name__}: {error}") from error
        return y.reshape(sample.x.shape) if flat is not sample and y.numel() else y

    def __call__(self, sample: Sample) -> Result:
        if sample.dy is None or self.forward_only:
            with torch.no_grad():
                return {"y": self.output(sample)}
        # The same memory and strides: what the implementation overwrites stays overwritten.
        leaves = {n: t.detach().requires_grad_() for n, t in sample.leaves.items()}
        y = self.output(replace(sample, **leaves))  # type: ignore[arg-type]
        try:
            found = torch.autograd.grad(y, list(leaves.values()), sample.dy, allow_unused=True)
        except Exception as error:
            raise RefusalError(f"{self.name}: {type(error).__name__}: {error}") from error
        gradients = {f"d{n}": g for n, g in zip(leaves, found, strict=True) if g is not None}
        return {"y": y.detach()} | gradients

    def _flat(self, sample: Sample) -> Sample:
        """Join trailing dimensions for an implementation that normalises the last alone."""
        if "normalized_shape" not in self.adapter.binding.missing or len(sample.shape) == 1:
            return sample
        n = math.prod(sample.shape)
        lead = sample.x.shape[: sample.x.dim() - len(sample.shape)]
        joined = {
            name: t.reshape(*lead, n) if name == "x" else t.reshape(n)
            for name, t in sample.leaves.items()
        }
        return replace(sample, shape=(n,), **joined)  # type: ignore[arg-type]

    def _inputs(self, sample: Sample) -> Inputs:
        """Describe the call to the adapter; only shapes, dims and eps are read."""
        op = catalogue.find(self.op)
        dims, size = len(sample.shape), tuple(sample.x.shape)
        dtype = str(sample.x.dtype).removeprefix("torch.")
        case = Case(
            self.op,
            dtype,
            size,
            dims=dims,
            weight="none" if sample.weight is None else "mixed",
            bias="none" if sample.bias is None else "mixed",
        )
        reduction = op.reduce(size, Settings(dims))
        return Inputs(case, op, reduction, sample.leaves, {}, sample.eps)
