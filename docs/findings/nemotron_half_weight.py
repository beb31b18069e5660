"""NemotronLayerNorm1P: 1 + weight is rounded to bfloat16, which drops a small weight."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
except RuntimeError:  # a torchvision for another torch, whose compiled part does not load
    for name in ("nms", "qnms"):
        library.define(f"{name}() -> ()")
    from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P

module = NemotronLayerNorm1P(2, eps=1e-5).bfloat16()
module.weight.data.fill_(0.0039)  # 1.0039 lies halfway between two numbers of bfloat16
module.bias.data.fill_(-1.0)
y = module(torch.tensor([[-1.0, 1.0]], dtype=torch.bfloat16))
exact = (1 + module.weight[1].double().item()) / (1 + 1e-5) ** 0.5 - 1
print(f"computed {y[0, 1].item()}")
print(f"exact {exact:.6f}")
assert abs(y[0, 1].item() - exact) > 0.5 * abs(exact), "the output is right here"
