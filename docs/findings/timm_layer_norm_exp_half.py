"""timm LayerNormExp2d: without contiguity, statistics are rounded to bfloat16 before use."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from timm.layers.norm import LayerNormExp2d
except RuntimeError:  # a torchvision for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from timm.layers.norm import LayerNormExp2d

x = (100.0 + torch.randn(1, 96, 2, 2, generator=torch.Generator().manual_seed(0))).bfloat16()
image = x.to(memory_format=torch.channels_last)
y = LayerNormExp2d(96).bfloat16()(image).double()
centred = x.double() - x.double().mean(1, keepdim=True)
exact = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
once = exact.bfloat16().double()
at = (y - exact).abs().argmax()
print(f"computed {y.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item():.5f}")
print(f"rounded once {once.flatten()[at].item()}")
assert (y - exact).abs().max() > 8 * (once - exact).abs().max(), "the output is right here"
