"""Keras on JAX: the weight gradient of BatchNormalization on an empty batch is NaN."""

import os

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras

layer = keras.layers.BatchNormalization(axis=1)
layer.build((None, 4))
kept = [variable.value for variable in layer.non_trainable_variables]
bias = jax.numpy.zeros(4)
y, backward = jax.vjp(
    lambda w: layer.stateless_call([w, bias], kept, jax.numpy.zeros((0, 4)), training=True)[0],
    jax.numpy.ones(4),
)
(dweight,) = backward(y)
print(f"computed {float(dweight[0])}")
print(f"exact {0.0}")  # a sum over nothing
assert jax.numpy.isnan(dweight).all(), "the gradient is a number here"
