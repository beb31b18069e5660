"""Make Triton's interpreter do what a GPU does, where it runs a target's kernels.

By itself it cuts float32 off to bfloat16 where a GPU rounds to nearest, reads subnormal numbers of
bfloat16 wrongly, computes with the bits of a bfloat16 as with integers, keeps its place in the grid
in a global, so that two threads disturb each other, and takes a float for a number of any type. A
right kernel would be blamed for that.

Compiled, each operation on bfloat16 is rounded once. float32 is so much wider that what is
computed in it and rounded again is the same.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PREFIX", "Bits", "has_interpreted", "interprets", "mend", "narrowed", "widened"]

Bits = NDArray[np.uint16]
Floats = NDArray[Any]
Wide = type[np.floating[Any]]
_OFF = ("", "0", "false", "off", "n", "no")
# What a shell takes before a command that is to be interpreted too.
PREFIX = "TRITON_INTERPRET=1 "
_NOTE = "Triton kernels run in Triton's interpreter, with bfloat16 rounded as a GPU rounds it"
_OTHERWISE = (
    "Triton kernels run in the interpreter of Triton {}, which is built otherwise than those that "
    "are mended: what is found in bfloat16, or by threads, may be its fault"
)
_one_at_a_time = threading.RLock()


def interprets() -> bool:
    """Whether ``TRITON_INTERPRET`` turned the interpreter on, and there is one."""
    is_on = os.environ.get("TRITON_INTERPRET", "").lower() not in _OFF
    return is_on and find_spec("triton") is not None


def has_interpreted() -> bool:
    """Whether a kernel was interpreted in this process since `mend`."""
    interpreter = sys.modules.get("triton.runtime.interpreter")
    return bool(getattr(interpreter, "_normcheck_launched", False))


def mend() -> str:
    """Mend the interpreter of this process to its end, if it was turned on.

    Returns:
        What a reader of a verdict must know, in a sentence without a full stop; "" where Triton
        does not interpret.
    """
    if not interprets():
        return ""
    import triton
    from triton.runtime import interpreter

    if getattr(interpreter, "_normcheck_mended", False):
        return _NOTE
    try:
        _mend_conversions(interpreter)
        _mend_arithmetic(interpreter)
        _mend_reductions(interpreter)
        _mend_launches(interpreter)
        _mend_lengths(interpreter)
    except AttributeError:
        return _OTHERWISE.format(triton.__version__)
    interpreter._normcheck_mended = True
    return _NOTE


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


def _mend_conversions(interpreter: Any) -> None:
    import triton.language as tl

    builder = interpreter.InterpreterBuilder
    convert = builder.cast_impl

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

    builder.cast_impl = cast_impl


def _mend_arithmetic(interpreter: Any) -> None:
    builder = interpreter.InterpreterBuilder
    for name in ("unary_op", "binary_op", "ternary_op"):
        setattr(builder, name, _rounding(interpreter, getattr(builder, name), np.float32))
    # A product and a sum that are rounded once leave float32.
    builder.create_fma = _rounding(interpreter, builder.create_fma, np.float64)
    multiply, atomic = builder.create_dot, builder.create_atomic_rmw

    def dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        a, b = (_wide(interpreter, each, np.float32) for each in (a, b))
        return multiply(self, a, b, *others)

    def atomic_rmw(self: Any, operation: Any, pointer: Any, value: Any, *others: Any) -> Any:
        if _is_narrow(value):
            raise NotImplementedError("Triton's interpreter has no atomic operations on bfloat16")
        return atomic(self, operation, pointer, value, *others)

    builder.create_dot, builder.create_atomic_rmw = dot, atomic_rmw


def _is_narrow(operand: Any) -> bool:
    import triton.language as tl

    dtype = getattr(operand, "dtype", None)
    return bool(getattr(dtype, "scalar", None) == tl.bfloat16)


def _wide(interpreter: Any, operand: Any, dtype: Wide) -> Any:
    """Return a bfloat16 in a wider format, and anything else as it is."""
    import triton.language as tl

    if not _is_narrow(operand):
        return operand
    kind = tl.float64 if dtype is np.float64 else tl.float32
    return interpreter.TensorHandle(widened(operand.data).astype(dtype), kind)


def _rounding(interpreter: Any, plain: Callable[..., Any], dtype: Wide) -> Any:
    """Return an operation that computes bfloat16 in a wider format and rounds the result."""
    import triton.language as tl

    def mended(self: Any, *operands: Any) -> Any:
        # np.where chooses bits, and changes none.
        if operands[-1] is np.where or not any(map(_is_narrow, operands)):
            return plain(self, *operands)
        found = plain(self, *(_wide(interpreter, operand, dtype) for operand in operands))
        # A comparison has found truth values.
        is_number = found.data.dtype == dtype
        return interpreter.TensorHandle(narrowed(found.data), tl.bfloat16) if is_number else found

    return mended


def _mend_reductions(interpreter: Any) -> None:
    import triton.language as tl

    reductions, scans = interpreter.ReduceOps, interpreter.ScanOps
    plain_sum, plain_extremes, plain_scan = (
        reductions.sum, reductions.min_max, scans.apply_impl
    )  # fmt: skip

    def total(self: Any, given: Any) -> Any:
        if given.dtype.scalar != tl.bfloat16:
            return plain_sum(self, given)
        data = given.handle.data
        axis = None if self.axis is None else self.axis % data.ndim
        found = _pairwise(data.ravel() if axis is None else np.moveaxis(data, axis, -1))
        if self.keep_dims:
            found = found.reshape([1 if axis in (None, i) else n for i, n in enumerate(data.shape)])
        return self.to_tensor(found, given.dtype)

    def extremes(self: Any, given: Any, *operations: Any, **named: Any) -> Any:
        if given.dtype.scalar != tl.bfloat16:
            return plain_extremes(self, given, *operations, **named)
        single = tl.core.tensor(
            interpreter.TensorHandle(widened(given.handle.data), tl.float32),
            tl.block_type(tl.float32, list(given.shape)),
        )
        found = plain_extremes(self, single, *operations, **named)
        value, *place = found if isinstance(found, tuple) else (found,)
        bits = narrowed(value.handle.data).reshape([int(size) for size in value.shape])
        narrow = self.to_tensor(bits, given.dtype)
        return (narrow, *place) if place else narrow

    def scan(self: Any, given: Any) -> Any:
        by_bits = self.combine_fn in (tl.standard._sum_combine, tl.standard._prod_combine)
        if by_bits and any(each.dtype.scalar == tl.bfloat16 for each in given):
            raise NotImplementedError("Triton's interpreter has no running sums of bfloat16")
        return plain_scan(self, given)

    reductions.sum, reductions.min_max, scans.apply_impl = total, extremes, scan


def _pairwise(bits: Bits) -> Bits:
    """Add the last dimension as neighbours, each sum rounded: no GPU adds with fewer roundings."""
    while (count := bits.shape[-1]) > 1:
        if count % 2:
            bits = np.concatenate([bits, np.zeros_like(bits[..., :1])], -1)
        values = widened(bits)
        bits = narrowed(values[..., 0::2] + values[..., 1::2])
    return bits[..., 0]


def _mend_launches(interpreter: Any) -> None:
    """Launches take turns, and numbers have the types that they are compiled with."""
    executor = interpreter.GridExecutor
    launch = executor.__call__

    def alone(self: Any, *arguments: Any, **named: Any) -> Any:
        types = inspect.get_annotations(self.fn)
        places = zip(self.arg_names, arguments, strict=False)
        given = [_typed(interpreter, value, types.get(name)) for name, value in places]
        named = {name: _typed(interpreter, named[name], types.get(name)) for name in named}
        interpreter._normcheck_launched = True
        with _one_at_a_time:
            return launch(self, *given, **named)

    executor.__call__ = alone


def _typed(interpreter: Any, value: object, annotation: object) -> object:
    """Make a float the scalar of float32 that it is compiled as, or of the type it is said to be.

    As a number of Python it would take the type of what it meets, bfloat16 or float64.
    """
    import triton.language as tl
    from triton.runtime.jit import _normalize_ty

    name = _normalize_ty(annotation) if annotation is not None else ""
    if not isinstance(value, float) or name == "constexpr":
        return value
    types = {"fp16": tl.float16, "bf16": tl.bfloat16, "fp64": tl.float64}
    dtype = types.get(name, tl.float32)
    number = np.array([value])
    data = (
        narrowed(number)
        if dtype == tl.bfloat16
        else number.astype(interpreter._get_np_dtype(dtype))
    )
    return tl.core.tensor(interpreter.TensorHandle(data, dtype), dtype)


def _mend_lengths(interpreter: Any) -> None:
    """A number of turns is an array of one element, which NumPy 2.4 takes for no number."""
    patch = interpreter._patch_lang_tensor

    def mended(tensor: Any, *others: Any) -> None:
        patch(tensor, *others)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = mended
