"""DetrFrozenBatchNorm2d: scale and shift are rounded to bfloat16, and then cancel."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d
except RuntimeError:  # a torchvision for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

x = (100.0 + torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
module = DetrFrozenBatchNorm2d(1).bfloat16()
module.running_mean.fill_(100.0)
module.running_var.fill_(3.0)
y = module(x).double()
exact = (x.double() - 100.0) / (3.0 + 1e-5) ** 0.5
at = (y - exact).abs().argmax()
print(f"computed {y.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item():.5f}")
assert (y - exact).abs().max() > 0.1, "the output is right here"
