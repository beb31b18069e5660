"""A module."""

import torch
from torch import nn


class LayerNorm(nn.Module):
    """Layer normalization over the last dimension, in two passes."""

    def __init__(self, hidden_size, eps=1e-5, bias=True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if bias else None

    def forward(self, x):
        h = x.double() if x.dtype == torch.float64 else x.float()
        centred = h - h.mean(-1, keepdim=True)
        y = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        y = y * self.weight
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype)
