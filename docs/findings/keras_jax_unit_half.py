"""Keras on JAX: UnitNormalization rounds the norm to bfloat16, and so are terms of dx."""

import os

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras
import numpy as np

x = jax.random.normal(jax.random.key(0), (64, 257)).astype("bfloat16")
dy = (x + 0.01 * jax.random.normal(jax.random.key(1), x.shape)).astype("bfloat16")
y, backward = jax.vjp(keras.layers.UnitNormalization(axis=-1, dtype="bfloat16"), x)
values, g = np.asarray(x, np.float64), np.asarray(dy, np.float64)
norm = np.sqrt(np.square(values).sum(1, keepdims=True))
once = jax.numpy.asarray(values / norm).astype("bfloat16")
print(f"y differs in {int((y != once).sum())} of {y.size} elements")
exact = (g - values / norm * (g * values / norm).sum(1, keepdims=True)) / norm
dx = np.asarray(backward(dy)[0], np.float64)
at = np.abs(dx - exact).argmax()
print(f"computed {dx.flatten()[at]}\nexact {exact.flatten()[at]}")
assert int((y != once).sum()) > y.size // 10, "the output is right here"
assert np.abs(dx - exact).max() > 1e-3, "rounding dx once leaves 8e-6; it is right here"
