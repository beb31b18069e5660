"""torch layer_norm: in float64 a weight gradient is one serial sum over the rows."""

from fractions import Fraction

import torch
from torch.nn import functional

rows, columns = 2047, 22
torch.set_num_threads(1)
x = (1.0 + torch.arange(columns, dtype=torch.float64) / 8).expand(rows, columns).contiguous()
weight = torch.ones(columns, dtype=torch.float64, requires_grad=True)
y = functional.layer_norm(x, (columns,), weight)
(gradient,) = torch.autograd.grad(y, weight, torch.ones_like(y))

# All rows are equal, so that the exact sum is a product.
exact = rows * Fraction(y[0, 5].item())
lost = abs(Fraction(gradient[5].item()) - exact) / abs(exact) * 2**53
print(f"computed {gradient[5].item()!r}")
print(f"exact {float(exact)!r}")
print(f"relative error {float(lost):.1f} unit roundoffs")
# 2047 terms over 32 lanes are 64 + 5 additions deep.
assert lost > 64 + 5, "the sum is as good as a blocked one here"
