"""torch instance_norm: in bfloat16 whole rows are scaled by a reciprocal root kept in bfloat16."""

import torch
from torch.nn import functional

generator = torch.Generator().manual_seed(0)
x = torch.randn(1, 64, 4096, generator=generator).bfloat16()
values = x.double()
centred = values - values.mean(2, keepdim=True)
exact = centred * (centred.square().mean(2, keepdim=True) + 1e-5).rsqrt()


def worst_scale(y: torch.Tensor) -> float:
    # Least squares over a row: the roundings of its 4096 elements average out.
    scale = (y.double() * exact).sum(2) / exact.square().sum(2)
    return max(scale.flatten().tolist(), key=lambda value: abs(value - 1.0))


print(f"layer_norm scales a row by {worst_scale(functional.layer_norm(x, (4096,)))}")
computed = worst_scale(functional.instance_norm(x))
print(f"computed {computed}")
print("exact 1.0")
assert abs(computed - 1.0) > 4 * abs(worst_scale(exact.bfloat16()) - 1.0), "right here"
