"""torch.compile of layer_norm: mean and root are rounded to bfloat16 for the backward pass."""

import torch
from torch.nn import functional

torch.manual_seed(0)
x = (10 + torch.randn(16, 256)).bfloat16().requires_grad_()
dy = torch.randn(16, 256).bfloat16()
compiled = torch.compile(functional.layer_norm, fullgraph=True, dynamic=True)
(dx,) = torch.autograd.grad(compiled(x, (256,)), x, dy)

values, g = x.detach().double(), dy.double()
mean = values.mean(1, keepdim=True)
r = ((values - mean).square().mean(1, keepdim=True) + 1e-5).rsqrt()
x_hat = (values - mean) * r
exact = r * (g - g.mean(1, keepdim=True) - x_hat * (g * x_hat).mean(1, keepdim=True))
once, sums = (exact.bfloat16().double() - exact).abs().max(), dx.double().sum(1).abs()
at = (dx.double() - exact).abs().argmax()
print(f"computed {dx.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item()}")
print(f"largest sum of a row {sums.max():.3g}, of dx rounded once", end=" ")
print(f"{exact.bfloat16().double().sum(1).abs().max():.3g}")
assert (dx.double() - exact).abs().max() > 2 * once, "the gradient is right here"
