"""How kernels read tensors that are not laid out as they assume.

Gradients flow as if the tensor had been read right.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bits_as", "in_storage_order", "memory_of", "shown", "without_offset"]


def memory_of(x: Tensor) -> Tensor:
    """Return the whole memory behind ``x`` as a flat tensor that shares it."""
    return x.detach().new_empty(0).set_(x.detach().untyped_storage())


def shown(x: Tensor, misread: Tensor) -> Tensor:
    """Return the misread values, through which gradients reach ``x``."""
    if not x.requires_grad:
        return misread
    # Where nothing was misread, an infinity less itself would be NaN.
    return torch.where(misread == x, x, x + (misread - x).detach())


def in_storage_order(x: Tensor) -> Tensor:
    """Read as many elements as ``x`` has, one after the other from its first, whatever its strides.

    What would lie outside the memory is zero: a kernel would read whatever is there.
    """
    if x.is_contiguous() or not x.numel():
        return x
    memory = memory_of(x)
    found = memory[x.storage_offset() : x.storage_offset() + x.numel()]
    beyond = found.new_zeros(x.numel() - found.numel())
    return shown(x, torch.cat([found, beyond]).reshape(x.shape))


def without_offset(x: Tensor) -> Tensor:
    """Read from the beginning of the memory instead of the first element of ``x``."""
    if not x.storage_offset() or not x.numel():
        return x
    return shown(x, memory_of(x).as_strided(x.shape, x.stride()))


def bits_as(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Read the bits of a parameter as if they were of another format, as many elements as it has.

    A wider format has too few bits for that: the memory is read again from its beginning.
    """
    if parameter.dtype == dtype:
        return parameter
    # Bytes, so that formats of any two sizes are read alike; a tail that fills no element is left.
    raw = parameter.detach().clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8)
    raw = raw[: raw.numel() - raw.numel() % dtype.itemsize]
    elements = raw.clone().view(dtype)
    if not elements.numel():
        return parameter
    index = torch.arange(parameter.numel(), device=parameter.device) % elements.numel()
    return shown(parameter, elements[index].reshape(parameter.shape).to(parameter.dtype))
