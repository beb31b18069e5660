"""torch group_norm: over no positions at all the gradient of the weight is NaN instead of zero."""

import torch
from torch.nn import functional

x = torch.empty(3, 4, 0)
weight, bias = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)
functional.group_norm(x, 2, weight, bias).sum().backward()
other = torch.ones(4, requires_grad=True)
functional.batch_norm(x, None, None, other, None, training=True).sum().backward()
print(f"batch_norm gives {other.grad[0].item()}")
print(f"computed {weight.grad[0].item()}")
print(f"exact {0.0}")
assert weight.grad.isnan().all(), "a sum over nothing is zero here"
