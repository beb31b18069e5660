"""tinygrad BatchNorm: its statistics are long chains of additions in float32."""

from fractions import Fraction

import numpy as np
from tinygrad import Context, Tensor, nn

x = np.full((4, 1, 4096), 0.1, np.float32)
module = nn.BatchNorm(1, affine=False, momentum=1.0)
with Context(TRAINING=1):
    y = module(Tensor(x)).numpy()
computed, exact = float(module.running_mean.numpy()[0]), Fraction(float(x[0, 0, 0]))
error = abs(Fraction(computed) / exact - 1) * 2**24
print(f"computed {computed!r}")
print(f"exact {float(exact)!r}")
print(f"off by {float(error):.0f} unit roundoffs")
print(f"y is {y[0, 0, 0]:.3g}, but exactly 0")
assert error > 64, "the mean is right here"
