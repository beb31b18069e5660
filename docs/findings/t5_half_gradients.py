"""T5LayerNorm: two terms of dx are rounded to bfloat16 before they cancel."""

import torch
from transformers.models.t5.modeling_t5 import T5LayerNorm

rows, columns = 16, 256
generator = torch.Generator().manual_seed(0)
x = torch.randn(rows, columns, generator=generator).bfloat16().requires_grad_()
dy = (x.detach() + 0.01 * torch.randn(rows, columns, generator=generator)).bfloat16()
(dx,) = torch.autograd.grad(T5LayerNorm(columns, eps=1e-6).bfloat16()(x), x, dy)

values, g = x.detach().double(), dy.double()
r = (values.square().mean(1, keepdim=True) + 1e-6).rsqrt()
exact = r * (g - values * r * (g * values * r).mean(1, keepdim=True))
error, once = (dx.double() - exact).abs(), (exact.bfloat16().double() - exact).abs().max().item()
at = error.argmax()
print(f"computed {dx.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item()}")
print(f"largest error {error.max().item():.3g}, of dx rounded once {once:.3g}")
assert error.max() > 8 * once, "the input gradient is right here"
