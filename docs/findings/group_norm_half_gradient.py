"""torch group_norm: bfloat16 input gradients come from a mean and a root rounded to bfloat16."""

import torch
from torch.nn import functional

columns = 1024
generator = torch.Generator().manual_seed(0)
x = (10.0 + torch.randn(16, columns, generator=generator)).bfloat16().requires_grad_()
dy = torch.randn(16, columns, generator=generator).bfloat16()
(dx,) = torch.autograd.grad(functional.group_norm(x, 1), x, dy)

values, g = x.detach().double(), dy.double()
centred = values - values.mean(1, keepdim=True)
r = (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()
x_hat = centred * r
exact = r * (g - g.mean(1, keepdim=True) - x_hat * (g * x_hat).mean(1, keepdim=True))
total, once = dx.double().sum(1), exact.bfloat16().double().sum(1)
row = total.abs().argmax()
print("sum of dx over a row, which no shift of the row can change:")
print(f"computed {total[row].item()}")
print(f"exact {exact.sum(1)[row].item():.3g}")
assert total.abs().max() > 8 * once.abs().max(), "the input gradient is right here"
