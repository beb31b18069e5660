"""timm RmsNorm2d: squares are added up in float16, where 300^2 is infinite."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from timm.layers import RmsNorm2d
except RuntimeError:  # a torchvision for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from timm.layers import RmsNorm2d

x = torch.full((1, 4, 1, 1), 300.0, dtype=torch.float16)
y = RmsNorm2d(4).half()(x)
exact = 300.0 / (300.0**2 + 1e-6) ** 0.5
own = torch.nn.functional.rms_norm(x[..., 0, 0], (4,), eps=1e-6)
print(f"computed {y[0, 0, 0, 0].item()}")
print(f"exact {exact:.5f}")
print(f"torch itself: {own[0, 0].item()}")
assert (y.double() - exact).abs().max() > 0.1, "the output is right here"
