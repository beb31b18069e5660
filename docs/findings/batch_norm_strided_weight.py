"""torch batch_norm: the backward reads a strided weight as if it were contiguous."""

import torch
from torch.nn import functional

torch.manual_seed(0)
x, dy = torch.randn(18, 6, requires_grad=True), torch.randn(18, 6)
beside = torch.full((12,), float("nan"))
beside[::2] = torch.rand(6) + 0.5


def gradient(weight: torch.Tensor) -> torch.Tensor:
    y = functional.batch_norm(x, None, None, weight, None, training=True)
    return torch.autograd.grad(y, x, dy)[0]


computed = float(gradient(beside[::2])[0, 1])
exact = float(gradient(beside[::2].clone())[0, 1])  # the same six values, side by side
print(f"computed {computed!r}")
print(f"exact {exact!r}")
assert computed != exact, "the stride is honoured here"
