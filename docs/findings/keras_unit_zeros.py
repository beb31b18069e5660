"""Keras on torch: the gradient of UnitNormalization at a row of zeros is NaN."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

x = torch.zeros(1, 4, requires_grad=True)
y = keras.layers.UnitNormalization(axis=-1)(x)
y.backward(torch.ones_like(y))
# y = x / max(|x|, 1e-12): where the floor holds, dx is dy / 1e-12.
own = torch.zeros(1, 4, requires_grad=True)
torch.nn.functional.normalize(own, dim=-1).backward(torch.ones(1, 4))
print(f"computed {x.grad[0, 0].item()}")
print(f"exact {1.0 / 1e-12}")
print(f"torch itself: {own.grad[0, 0].item()}")
assert x.grad.isnan().all(), "the gradient is a number here"
