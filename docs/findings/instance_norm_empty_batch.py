"""torch instance_norm: an empty batch makes the running statistics NaN for good."""

import torch
from torch.nn import functional

mean, variance = torch.zeros(4), torch.ones(4)
functional.batch_norm(torch.empty(0, 4, 5), mean, variance, training=True)
print(f"batch_norm leaves {mean[0].item()} and {variance[0].item()}")
functional.instance_norm(torch.empty(0, 4, 5), mean, variance)
print(f"instance_norm leaves {mean[0].item()} and {variance[0].item()}")
print(f"computed {variance[0].item()}")
print(f"exact {1.0}")
assert variance.isnan().all(), "the buffers survive here"
