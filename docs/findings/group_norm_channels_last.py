"""torch group_norm: channels_last input has its variance computed as E[x^2] - E[x]^2."""

import torch
from torch.nn import functional

generator = torch.Generator().manual_seed(0)
x = 1000.0 + torch.randn(2, 8, 16, 16, generator=generator)
values = x.double().reshape(2, 2, -1)
centred = values - values.mean(2, keepdim=True)
exact = centred * (centred.square().mean(2, keepdim=True) + 1e-5).rsqrt()
exact = exact.reshape(x.shape)
for layout in (torch.contiguous_format, torch.channels_last):
    y = functional.group_norm(x.contiguous(memory_format=layout), 2).double()
    print(f"{layout}: largest error {(y - exact).abs().max().item():.3g}")

error = (y - exact).abs()
at = error.argmax()
print(f"computed {y.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item()}")
assert error.max() > 0.01, "the output is right here"
