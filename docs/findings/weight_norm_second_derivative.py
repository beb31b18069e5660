"""torch _weight_norm: the derivative of its gradient lacks a term."""

import torch

v = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64, requires_grad=True)
g = torch.tensor([[1.3]], dtype=torch.float64, requires_grad=True)
dy = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
along = torch.tensor([[1.0, 0.5, 2.0]], dtype=torch.float64)


def twice(y: torch.Tensor) -> float:
    (dv,) = torch.autograd.grad(y, v, dy, create_graph=True)
    (dvv,) = torch.autograd.grad((dv * along).sum(), v)
    return float(dvv[0, 0])


computed = twice(torch._weight_norm(v, g, 0))
exact = twice(g * v / (v * v).sum(1, keepdim=True).sqrt())  # the formula, term by term
print(f"computed {computed!r}")
print(f"exact {exact!r}")
assert abs(computed - exact) > 0.01, "the second derivative is right here"
