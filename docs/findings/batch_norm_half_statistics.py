"""torch batch_norm: in bfloat16 the batch's statistics are kept in bfloat16."""

import torch
from torch.nn import functional

generator = torch.Generator().manual_seed(0)
x = (10.0 + torch.randn(64, 4, 64, generator=generator)).bfloat16()
values = x.double()
mean = values.mean((0, 2), keepdim=True)
exact = (values - mean) * ((values - mean).square().mean((0, 2), keepdim=True) + 1e-5).rsqrt()
y = functional.batch_norm(x, None, None, training=True).double()

total, once = y.mean((0, 2)), exact.bfloat16().double().mean((0, 2))
channel = total.abs().argmax()
print("mean of a channel of y:")
print(f"computed {total[channel].item()}")
print(f"exact {exact.mean((0, 2))[channel].item():.3g}")
print(f"exact y rounded once {once[channel].item()}")
assert total.abs().max() > 8 * once.abs().max(), "the output is right here"
