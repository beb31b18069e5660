"""Flax LayerNorm: two terms of dx are rounded to bfloat16 before they cancel."""

import jax
import numpy as np
from flax import linen

key = jax.random.key(0)
x = jax.random.normal(key, (16, 256)).astype("bfloat16")
dy = (x + 0.01 * jax.random.normal(jax.random.key(1), x.shape)).astype("bfloat16")
module = linen.LayerNorm(use_bias=False, use_scale=False, use_fast_variance=False)
dx = np.asarray(jax.vjp(lambda values: module.apply({}, values), x)[1](dy)[0], np.float64)

values, g = np.asarray(x, np.float64), np.asarray(dy, np.float64)
centred = values - values.mean(1, keepdims=True)
r = 1.0 / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-6)
x_hat = centred * r
exact = r * (g - g.mean(1, keepdims=True) - x_hat * (g * x_hat).mean(1, keepdims=True))
once = np.abs(np.asarray(jax.numpy.asarray(exact).astype("bfloat16"), np.float64) - exact).max()
at = np.abs(dx - exact).argmax()
print(f"computed {dx.flatten()[at]}")
print(f"exact {exact.flatten()[at]}")
print(f"largest error {np.abs(dx - exact).max():.3g}, of dx rounded once {once:.3g}")
assert np.abs(dx - exact).max() > 8 * once, "the input gradient is right here"
