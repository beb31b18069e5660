"""JAX on the CPU: a mean over two dimensions at once is one chain of additions."""

from fractions import Fraction

import jax
import numpy as np

x = np.full((1, 31, 31), 0.1, np.float32)
exact = Fraction(float(x[0, 0, 0]))  # the mean of equal values
two, one = jax.numpy.mean(x, (1, 2)), jax.numpy.mean(x.reshape(1, 961), 1)
errors = [float(abs(Fraction(float(mean[0])) / exact - 1) * 2**24) for mean in (two, one)]
print(f"computed {float(two[0])!r}")
print(f"exact {float(exact)!r}")
print(f"off by {errors[0]:.0f} unit roundoffs, and by {errors[1]:.0f} over one dimension")
assert errors[0] > 64, "the mean is right here"
