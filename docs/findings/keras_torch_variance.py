"""Keras on torch: GroupNormalization takes its variance as E[x^2] - E[x]^2, which cancels."""

import os

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

x = (1000.0 + torch.randn(16, 8, 32, generator=torch.Generator().manual_seed(0))).float()
layer = keras.layers.GroupNormalization(groups=2, axis=1, epsilon=1e-5)
y = layer(x.cpu()).detach().double().cpu().reshape(32, -1)

values = x.double().reshape(32, -1)
centred = values - values.mean(1, keepdim=True)
exact = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
own = torch.nn.functional.group_norm(x, 2).double().reshape(32, -1)
at = (y - exact).abs().argmax()
print(f"computed {y.flatten()[at].item():.5g}")
print(f"exact {exact.flatten()[at].item():.5g}")
print(f"largest error of torch itself: {(own - exact).abs().max().item():.2g}")
assert (y - exact).abs().max() > 0.01, "the output is right here"
