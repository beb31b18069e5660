"""tinygrad: a mean in float32 on the CPU is one long chain of additions."""

from fractions import Fraction

import numpy as np
from tinygrad import Tensor

x = np.full((1, 16384), 0.1, np.float32)
computed = float(Tensor(x).mean(-1).numpy()[0])
exact = Fraction(float(x[0, 0]))  # the mean of equal values
error = abs(Fraction(computed) / exact - 1) * 2**24
print(f"computed {computed!r}")
print(f"exact {float(exact)!r}")
print(f"off by {float(error):.0f} unit roundoffs")
print(f"numpy is off by {float(abs(Fraction(float(x.mean())) / exact - 1) * 2**24):.1f}")
assert error > 64, "the mean is right here"
