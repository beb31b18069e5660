"""Keras on torch: UnitNormalization adds up squares in float16, where 70000 is infinite."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

x = torch.full((1, 7), 100.0, dtype=torch.float16)
y = keras.layers.UnitNormalization(axis=-1, dtype="float16")(x)
exact = x.double() / x.double().square().sum().sqrt()
print(f"computed {y[0, 0].item()}")
print(f"exact {exact[0, 0].item():.5f}")
assert (y.double() - exact).abs().max() > 0.1, "the output is right here"
