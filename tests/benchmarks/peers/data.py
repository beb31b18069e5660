"""Random tensors with a seed of their own, and how far rows were cut."""

from __future__ import annotations

import torch
from torch import Tensor

CAP = 1 << 18
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (*HALVES, torch.float32)


def rows(wanted: int, columns: int) -> int:
    """Cut the number of rows, so that a tensor has at most `CAP` elements but one row at least."""
    return max(1, min(wanted, CAP // columns))


def counts(wanted: tuple[int, ...], columns: int) -> list[int]:
    """Cut several and drop what became equal."""
    return sorted({rows(count, columns) for count in wanted})


class Draw:
    """A stream of random tensors, rounded to the dtype after they are drawn in float32."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(
        self,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        mean: float = 0.0,
        scale: float = 1.0,
    ) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator)
        return drawn.mul_(scale).add_(mean).to(dtype)

    def uniform(
        self, *shape: int, low: float, high: float, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        drawn = torch.rand(shape, generator=self.generator, dtype=kind)
        return drawn.mul_(high - low).add_(low).to(dtype)
