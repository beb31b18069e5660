"""Flax LayerNorm: the default variance is E[x^2] - E[x]^2, which cancels at a large mean."""

import jax
import numpy as np
from flax import linen

x = (1000.0 + np.random.default_rng(0).standard_normal((16, 256))).astype(np.float32)
values = x.astype(np.float64)
centred = values - values.mean(1, keepdims=True)
exact = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-6)

for fast in (False, True):
    module = linen.LayerNorm(use_bias=False, use_scale=False, use_fast_variance=fast)
    y = np.asarray(module.apply({}, jax.numpy.asarray(x)), np.float64)
    print(f"use_fast_variance={fast}: largest error {np.abs(y - exact).max():.3g}")

at = np.abs(y - exact).argmax()
print(f"computed {y.flatten()[at]}")
print(f"exact {exact.flatten()[at]}")
assert np.abs(y - exact).max() > 0.01, "the output is right here"
