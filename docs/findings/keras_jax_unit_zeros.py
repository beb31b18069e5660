"""Keras on JAX: the gradient of UnitNormalization at a row of zeros is NaN."""

import os

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras

# y = x / max(|x|, 1e-12): where the floor holds, dx is dy / 1e-12.
zeros = jax.numpy.zeros((1, 4))
_, backward = jax.vjp(keras.layers.UnitNormalization(axis=-1), zeros)
(dx,) = backward(zeros + 1)
print(f"computed {float(dx[0, 0])}")
print(f"exact {1.0 / 1e-12}")
assert jax.numpy.isnan(dx).all(), "the gradient is a number here"
