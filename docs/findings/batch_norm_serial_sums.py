"""torch batch_norm: float32 channels_last sums are serial, and lose what torch.mean keeps."""

from fractions import Fraction

import torch
from torch.nn import functional

x = torch.full((16, 8, 32, 32), 0.1).contiguous(memory_format=torch.channels_last)
running_mean = torch.zeros(8)
torch.set_num_threads(1)
functional.batch_norm(x, running_mean, torch.ones(8), training=True, momentum=1.0)

exact = Fraction(x[0, 0, 0, 0].item())
for name, mean in (("torch.mean", x.mean((0, 2, 3))[0]), ("batch_norm", running_mean[0])):
    computed = Fraction(mean.item())
    lost = abs(computed - exact) / exact * 2**24
    print(f"{name}: relative error of the mean {float(lost):.1f} unit roundoffs")
print(f"computed {float(computed)}")
print(f"exact {float(exact)}")
# A sum of 16384 terms over 32 lanes is 512 + 5 additions deep.
assert lost > 512 + 5 + 1, "the mean is as good as that of a blocked sum here"
