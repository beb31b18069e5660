"""torch.compile of normalize: with gradients, the norm is rounded to bfloat16 beforehand."""

import torch
from torch.nn import functional

torch.manual_seed(0)
x = torch.randn(64, 257).bfloat16().requires_grad_()
dy = (x.detach() + 0.01 * torch.randn(64, 257)).bfloat16()
compiled = torch.compile(lambda x: functional.normalize(x, dim=-1), fullgraph=True, dynamic=True)
y = compiled(x)
(dx,) = torch.autograd.grad(y, x, dy)

values, g = x.detach().double(), dy.double()
norm = values.square().sum(1, keepdim=True).sqrt()
x_hat = values / norm
print(f"y differs in {(y != x_hat.bfloat16()).sum()} of {y.numel()} elements, and without")
print(f"gradients in {(compiled(x.detach()) != x_hat.bfloat16()).sum()}")
exact = (g - x_hat * (g * x_hat).sum(1, keepdim=True)) / norm
error, once = (dx.double() - exact).abs(), (exact.bfloat16().double() - exact).abs().max()
at = error.argmax()
print(f"computed {dx.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item()}")
assert (y == (values / norm.bfloat16().double()).bfloat16()).all(), "the norm is not rounded here"
assert error.max() > 8 * once, "the gradient is right here"
