"""JAX on the CPU: subnormal inputs count as zero, also where the exact result is normal."""

import jax
import numpy as np
from flax import linen

x = np.full((1, 4), 1e-39, np.float32)
module = linen.RMSNorm(epsilon=1e-12, use_scale=False)
computed = float(np.asarray(module.apply({}, jax.numpy.asarray(x)))[0, 0])
exact = float(x[0, 0]) / (float(x[0, 0]) ** 2 + 1e-12) ** 0.5
print(f"computed {computed}")
print(f"exact {exact}")
assert abs(computed - exact) > 0.5 * exact > float(np.finfo(np.float32).tiny), "right here"
