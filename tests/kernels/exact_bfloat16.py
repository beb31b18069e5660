"""Make the bfloat16 of Triton's interpreter exact.

It truncates where a GPU rounds to nearest, reads subnormal numbers wrongly, and takes the bits of a
bfloat16 for an integer where another format than float32 is on the other side. Only conversions are
mended: our kernels compute in float32 or float64, and arithmetic on bfloat16 itself is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime import interpreter

__all__ = ["Bits", "install", "narrowed", "widened"]

Bits = NDArray[np.uint16]
Floats = NDArray[Any]


def widened(bits: Bits) -> NDArray[np.float32]:
    """Return the float32 that bfloat16 numbers are: the same bits before 16 zeros."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrowed(values: Floats) -> Bits:
    """Round floating point numbers to bfloat16: to nearest, ties to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        # A float64 is rounded to odd first, so that the second rounding sees which side it is on.
        beyond = np.abs(single) > np.abs(values)
        single = np.where(beyond, np.nextafter(single, np.float32(0)), single)
    bits = single.view(np.uint32)
    bits = bits | (single != values).astype(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def install() -> None:
    """Mend the interpreter of this process.

    Raises:
        AttributeError: This Triton's interpreter is built otherwise.
    """
    builder: Any = interpreter.InterpreterBuilder
    if getattr(builder, "_bfloat16_is_exact", False):
        return
    convert, arithmetic = builder.cast_impl, builder.binary_op

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        source_type, target_type = source.dtype.scalar, target.scalar
        if tl.bfloat16 not in (source_type, target_type) or source_type == target_type:
            return convert(self, source, target)
        data = source.data
        if source_type == tl.bfloat16:
            data = widened(data)
        if target_type == tl.bfloat16:
            data = narrowed(data)
        else:
            data = data.astype(interpreter._get_np_dtype(target_type))
        return interpreter.TensorHandle(data, target_type)

    def binary_op(self: Any, left: Any, right: Any, op: Any) -> Any:
        if tl.bfloat16 in (left.dtype.scalar, right.dtype.scalar):
            raise NotImplementedError("arithmetic on bfloat16: convert to float32 first")
        return arithmetic(self, left, right, op)

    builder.cast_impl, builder.binary_op = cast_impl, binary_op
    builder._bfloat16_is_exact = True
