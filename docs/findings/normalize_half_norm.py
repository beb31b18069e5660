"""torch normalize: the norm of a bfloat16 row is rounded to bfloat16 before the division."""

import math

import torch
from torch.nn import functional

columns = 1032
computed = functional.normalize(torch.ones(1, columns, dtype=torch.bfloat16))[0, 0].item()
exact = 1.0 / math.sqrt(columns)
print(f"computed {computed}")
print(f"exact {exact}")
# Numbers of bfloat16 between 2**-6 and 2**-5 are 2**-13 apart.
print(f"error {abs(computed - exact) / 2**-13:.3f} ulp, where one rounding makes at most 0.5")
assert abs(computed - exact) > 0.9 * 2**-13, "the output is right here"
