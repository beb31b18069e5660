"""Where kernels run: on the GPU of their tensors, or in Triton's interpreter if asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["accumulation", "compiled_with", "launch", "runs"]

_one_at_a_time = threading.Lock()


def runs(x: Tensor) -> bool:
    """Whether kernels take a tensor: one on a GPU, or any where TRITON_INTERPRET=1 was set."""
    if x.is_cuda:
        return True
    # What the decorator made decides, not what the variable says by now.
    return x.device.type == "cpu" and _is_interpreted()


def _is_interpreted() -> bool:
    try:
        import triton
    except ImportError:
        return False
    from normcheck.kernels._columns import add_parts

    return not isinstance(add_parts, triton.JITFunction)


def accumulation(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of all arithmetic and of what is kept between kernels."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def compiled_with(
    constants: dict[str, object], backend: str, warps: int, *, strict: bool
) -> dict[str, object]:
    """Return all that a kernel is compiled with.

    Args:
        constants: Its compile-time arguments, by name; ACC is a dtype of torch.
        backend: ``cuda`` or ``hip``.
        warps: Of a program.
        strict: Whether products and sums stay apart.
    """
    import triton.language as tl

    found = constants | {"num_warps": warps, "enable_fp_fusion": not strict}
    if "ACC" in constants:
        found["ACC"] = tl.float64 if constants["ACC"] == torch.float64 else tl.float32
    if backend == "cuda":
        # Left to itself the assembler saves registers for occupancy, and spills.
        found["maxnreg"] = 128
    return found


def _at(tensor: object) -> contextlib.AbstractContextManager[object]:
    """Make a tensor's device the current one: Triton launches on that, and on its stream."""
    device = tensor.get_device() if isinstance(tensor, Tensor) else -1
    if device < 0 or device == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


def launch(
    kernel: Any,
    grid: Sequence[int],
    arguments: Sequence[object],
    warps: int,
    constants: dict[str, object],
    *,
    strict: bool,
) -> None:
    """Launch a kernel on the device of its tensors.

    Args:
        kernel: What ``triton.jit`` made.
        grid: Programs along each axis.
        arguments: A tensor, and more tensors, None, and numbers.
        warps: Of a program.
        constants: Compile-time arguments, by name.
        strict: Whether products and sums stay apart.
    """
    import triton

    backend = "cuda" if torch.version.hip is None else "hip"
    chosen: Callable[..., None] = kernel[tuple(grid)]
    # The interpreter patches Triton's language for one launch at a time.
    compiled = isinstance(kernel, triton.JITFunction)
    with _at(arguments[0]) if compiled else _one_at_a_time:
        chosen(*arguments, **compiled_with(constants, backend, warps, strict=strict))
