"""torch instance_norm: with a batch of one, a channels_last dy gives the gradient of another dy."""

import torch
from torch.nn import functional

generator = torch.Generator().manual_seed(0)
x = torch.randn(1, 4, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
dy = torch.randn(1, 4, 6, 6, generator=generator, dtype=torch.float64)
centred = x - x.mean((2, 3), keepdim=True)
root = (centred.square().mean((2, 3), keepdim=True) + 1e-5).rsqrt()
normalised = centred * root
projected = (dy * normalised).mean((2, 3), keepdim=True)
exact = root * (dy - dy.mean((2, 3), keepdim=True) - normalised * projected)
for layout in (torch.contiguous_format, torch.channels_last):
    y = functional.instance_norm(x)
    (dx,) = torch.autograd.grad(y, x, dy.contiguous(memory_format=layout))
    print(f"dy {layout}: largest error {(dx - exact).abs().max().item():.3g}")

at = (dx - exact).abs().argmax()
print(f"computed {dx.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item()}")
assert (dx - exact).abs().max() > 1.0, "the gradient is right here"
