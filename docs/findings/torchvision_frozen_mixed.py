"""torchvision FrozenBatchNorm2d: bfloat16 statistics spoil the root for a float32 input."""

import torch
from torch.nn.functional import batch_norm

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from torchvision.ops import FrozenBatchNorm2d
except RuntimeError:  # a build for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from torchvision.ops import FrozenBatchNorm2d

x = 100.0 + torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
statistics = {"running_mean": torch.tensor([100.0]), "running_var": torch.tensor([3.0])}
halves = {name: value.bfloat16() for name, value in statistics.items()}  # both are exact
y = torch.func.functional_call(FrozenBatchNorm2d(1), halves, (x,))
exact = (x.double() - 100.0) / (3.0 + 1e-5) ** 0.5
at = (y - exact).abs().argmax()
right = (batch_norm(x, **statistics) - exact).abs().max()
print(f"computed {y.flatten()[at].item()}")
print(f"exact {exact.flatten()[at].item():.5f}\nbatch_norm is {right:.2g} off")
assert y.dtype == torch.float32, "another format comes back here"
assert (y - exact).abs().max() > 100 * right, "the output is right here"
