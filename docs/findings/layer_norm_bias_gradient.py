"""torch layer_norm: a bias gradient of 4096 ones sticks in bfloat16."""

import torch
from torch.nn import functional

rows, columns = 4096, 8
x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).bfloat16()
for threads in (2, 1):
    torch.set_num_threads(threads)
    bias = torch.zeros(columns, dtype=torch.bfloat16, requires_grad=True)
    y = functional.layer_norm(x, (columns,), None, bias)
    (gradient,) = torch.autograd.grad(y, bias, torch.ones_like(y))
    print(f"threads {threads}: {gradient[0].item()}")

computed, exact = gradient[0].item(), float(rows)
print(f"computed {computed}")
print(f"exact {exact}")
assert abs(computed - exact) > 3000, "the bias gradient is right here"
