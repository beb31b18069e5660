"""torch normalize: in float16 its default floor 1e-12 is zero, and a row of zeros gives NaN."""

import torch
from torch.nn import functional

x = torch.zeros(1, 4, dtype=torch.float16)
computed, exact = functional.normalize(x)[0, 0].item(), 0.0
print(f"computed {computed}")
print(f"exact {exact}")
assert computed != computed, "the output is right here"
