"""torchvision FrozenBatchNorm2d: scale and shift are rounded to bfloat16, and then cancel."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from torchvision.ops import FrozenBatchNorm2d
except RuntimeError:  # a build for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from torchvision.ops import FrozenBatchNorm2d

generator = torch.Generator().manual_seed(0)
x = (100.0 + torch.randn(4, 1, 8, 8, generator=generator)).bfloat16()
module = FrozenBatchNorm2d(1, eps=1e-5).bfloat16()
module.running_mean.fill_(100.0)
module.running_var.fill_(3.0)
y = module(x).double()
exact = (x.double() - 100.0) / (3.0 + 1e-5) ** 0.5
at = (y - exact).abs().argmax()
print(f"computed {y.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item():.5f}")
assert (y - exact).abs().max() > 0.1, "the output is right here"
