"""Compile what the planner would launch, for GPUs that are not here, and print what came of it.

Run as a script, once per architecture: Triton keeps what it compiled per device, not per target.
The host code is the real one; only the last step compiles instead of launching.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import triton
from triton.backends.compiler import GPUTarget

from normcheck.kernels import _row_launches as launches
from normcheck.kernels._launch import compiled_with

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Rows, columns, dtype, kind, adds a residual, mode.
LAUNCHES: list[tuple[int, int, torch.dtype, str, bool, bool]] = [
    (64, 4096, torch.bfloat16, "rms", False, False),
    (64, 4096, torch.bfloat16, "rms", False, True),
    (64, 4096, torch.bfloat16, "layer", False, False),
    (64, 8192, torch.bfloat16, "rms", True, False),
    (64, 8192, torch.float32, "layer", False, True),
    (64, 1000, torch.float16, "layer", True, True),
    (64, 128, torch.bfloat16, "l2", False, False),
    (64, 40960, torch.bfloat16, "rms", False, False),
    (64, 40960, torch.bfloat16, "layer", True, True),
]


@dataclass(frozen=True)
class Compiled:
    """One launch that was compiled.

    Attributes:
        name: Of the kernel.
        columns: Of the rows.
        dtype: Of the rows.
        strict: Its mode.
        registers: Per thread; 0 where the target does not say.
        spilled: Bytes per thread that did not fit.
        wide: Loads of 16 bytes.
        narrow: Loads of 2 bytes.
        inexact: Instructions that round otherwise than IEEE's, or once for two operations. A sum of
            two bfloat16 numbers that is rounded to bfloat16 is one fma.rn.bf16x2 on sm_80: float32
            has more than twice its digits, so that rounding twice is rounding once.
    """

    name: str
    columns: int
    dtype: str
    strict: bool
    registers: int
    spilled: int
    wide: int
    narrow: int
    inexact: list[str]


class _Driver:
    """As much of a driver as compiling needs."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(target: GPUTarget) -> Iterator[Compiled]:
    """Compile forward and backward of all launches."""
    triton.runtime.driver.set_active(_Driver(target))
    found: list[tuple[Any, bool]] = []

    def instead(
        kernel: Any, grid: Sequence[int], arguments: Sequence[object], warps: int,
        constants: dict[str, Any], *, strict: bool,
    ) -> None:  # fmt: skip
        options = compiled_with(constants, target.backend, warps, strict=strict)
        made = kernel.warmup(*arguments, grid=tuple(grid), **options)
        found.append((made, strict))

    setattr(launches, "launch", instead)  # noqa: B010  # not a name that it exports
    for rows, columns, dtype, kind, adds, strict in LAUNCHES:
        x = torch.empty(rows, columns, dtype=dtype)
        affine = kind != "l2"
        weight = torch.empty(columns, dtype=dtype) if affine else None
        bias = torch.empty(columns, dtype=dtype) if kind == "layer" else None
        settings = (columns, kind, 1e-5, False)
        _, _, means, roots = launches.forward(
            x, x if adds else None, weight, bias, *settings, False, strict
        )
        launches.backward(
            x, x if adds else None, x, weight, means, roots, *settings, strict,
            dtype if affine else None, dtype if bias is not None else None,
        )  # fmt: skip
        for made, mode in found:
            yield _read(made, target, columns, dtype, strict=mode)
        found.clear()


def _read(
    made: Any, target: GPUTarget, columns: int, dtype: torch.dtype, *, strict: bool
) -> Compiled:
    name = f"{dtype}".removeprefix("torch.")
    if target.backend == "hip":
        text = made.asm["amdgcn"]
        spilled = sum(map(int, re.findall(r"\.vgpr_spill_count:\s+(\d+)", text)))
        registers = max(map(int, re.findall(r"\.vgpr_count:\s+(\d+)", text)))
        wide = len(re.findall(r"(?:buffer|global)_load_dwordx4", text))
        narrow = len(re.findall(r"(?:buffer|global)_load_(?:ushort|short)", text))
        return Compiled(made.name, columns, name, strict, registers, spilled, wide, narrow, [])
    text = made.asm["ptx"]
    registers, spilled = _usage(made.asm["cubin"])
    wide = len(re.findall(r"ld\.global\S*\.v4\.b32|ld\.global\S*\.v2\.b64", text))
    narrow = len(re.findall(r"ld\.global\S*\.b16", text))
    inexact = re.findall(
        r"\b(?:fma\.rn\.f\d|rsqrt\.approx|div\.full|\w+\.approx|\w+\.\S*ftz)\S*", text
    )
    return Compiled(made.name, columns, name, strict, registers, spilled, wide, narrow, inexact)


def _usage(cubin: bytes) -> tuple[int, int]:
    """Return registers and stack, as the assembler's own tool reads them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        words = [f"{tool}", "-res-usage", file.name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert usage is not None, said
    return int(usage[1]), int(usage[2])


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(each) for each in compiled(TARGETS[sys.argv[1]])]))
