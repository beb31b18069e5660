"""Keras on torch: an empty batch makes the moving statistics of BatchNormalization NaN."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

layer = keras.layers.BatchNormalization(axis=1)
layer(torch.zeros(0, 4), training=True)
computed = float(layer.moving_variance.value[0])
print(f"computed {computed}")
print(f"exact {1.0}")  # as it was
assert computed != computed, "the statistics survive here"
