"""tinygrad BatchNorm: an empty batch makes the running statistics NaN."""

import numpy as np
from tinygrad import Context, Tensor, nn

module = nn.BatchNorm(3, affine=False)
with Context(TRAINING=1):
    module(Tensor(np.zeros((0, 3, 4), np.float32))).numpy()
computed = module.running_mean.numpy()
print(f"computed {computed[0]}")
print(f"exact {0.0}")  # as it was
assert np.isnan(computed).all(), "the statistics survive here"
