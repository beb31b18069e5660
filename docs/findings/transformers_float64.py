"""LlamaRMSNorm: float64 in and out, float32 inside."""

import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

x = torch.linspace(1.0, 2.0, 64, dtype=torch.float64)[None]
y = LlamaRMSNorm(64, eps=1e-6).double()(x)
exact = x / (x.square().mean() + 1e-6).sqrt()
error = ((y - exact) / exact).abs().max().item()
print(f"computed {y[0, 1].item()!r}")
print(f"exact {exact[0, 1].item()!r}")
print(f"relative error {error:.3g}, where float64 has {2.0**-53:.3g}")
assert y.dtype == torch.float64
assert error > 2.0**-26, "the output is right here"
