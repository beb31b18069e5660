"""torch _weight_norm, decomposed: the norm is rounded to bfloat16, and so is the quotient."""

import torch

torch.manual_seed(0)
v, g = torch.randn(64, 64).bfloat16(), (torch.rand(64, 1) + 0.5).bfloat16()
wide = g.double() * v.double() / v.double().square().sum(1, keepdim=True).sqrt()
right = wide.bfloat16()
traced = torch.compile(
    lambda v, g: torch._weight_norm(v, g, 0), backend="aot_eager_decomp_partition"
)
found = traced(v.requires_grad_(), g.requires_grad_()).detach()
worst = int((found - right).abs().float().argmax())
computed, exact = float(found.flatten()[worst]), float(right.flatten()[worst])
print(f"computed {computed!r}")
print(f"exact {exact!r}")
print(f"differ {int((found != right).sum())}")
assert bool((torch._weight_norm(v, g, 0) == right).all()), "without torch.compile it is right"
assert computed != exact, "the decomposition is right here"
