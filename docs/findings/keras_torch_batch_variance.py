"""Keras on torch: BatchNormalization takes its variance as E[x^2] - E[x]^2, which cancels."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

x = (1000.0 + torch.randn(64, 8, generator=torch.Generator().manual_seed(0))).float()
layer = keras.layers.BatchNormalization(axis=1, momentum=0.0, epsilon=1e-5)
layer(x, training=True)
computed = layer.moving_variance.value.detach().double().cpu()
exact = x.double().var(0, unbiased=False)
at = (computed - exact).abs().argmax()
print(f"computed {computed[at].item():.5g}")
print(f"exact {exact[at].item():.5g}")
assert (computed - exact).abs().max() > 0.01 * exact[at], "the variance is right here"
