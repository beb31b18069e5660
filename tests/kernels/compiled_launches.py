"""Compile what the planner would launch, for GPUs that are not here, and print what came of it.

Run as a script with an architecture, and the first call and the step to the next if not all are
wanted; once per architecture: Triton keeps what it compiled per device, not per target.
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

from normcheck.kernels import _channel_launches as channels
from normcheck.kernels import _row_launches as rows
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
# Shape, dtype, groups, channels last in memory, mode.
CHANNEL_LAUNCHES: list[tuple[tuple[int, ...], torch.dtype, int, bool, bool]] = [
    ((2, 320, 64, 64), torch.bfloat16, 32, False, True),
    ((2, 512, 16, 16), torch.bfloat16, 32, True, False),
    ((8, 64, 56, 56), torch.bfloat16, 0, False, False),
    ((8, 64, 56, 56), torch.float16, 0, True, True),
    ((512, 1024), torch.float32, 0, False, False),
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
        shuffled: Distances between the lanes whose values are added, in the program's order.
        contracted: Sums and products that are missing from the machine's instructions: those that
            became part of others.
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
    contracted: int
    shuffled: list[int]


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


def compiled(target: GPUTarget, start: int = 0, step: int = 1) -> Iterator[Compiled]:
    """Compile forward and backward of every ``step``-th call."""
    triton.runtime.driver.set_active(_Driver(target))
    found: list[tuple[Any, bool]] = []

    def instead(
        kernel: Any, grid: Sequence[int], arguments: Sequence[object], warps: int,
        constants: dict[str, Any], *, strict: bool,
    ) -> None:  # fmt: skip
        options = compiled_with(constants, target.backend, warps, strict=strict)
        made = kernel.warmup(*arguments, grid=tuple(grid), **options)
        found.append((made, strict))

    for module in (rows, channels):
        vars(module)["launch"] = instead
    calls: list[tuple[Any, Any]] = [(_rows_called, each) for each in LAUNCHES]
    calls += [(_channels_called, each) for each in CHANNEL_LAUNCHES]
    for call, settings in calls[start::step]:
        width, dtype = call(*settings)
        for made, mode in found:
            yield _read(made, target, width, dtype, strict=mode)
        found.clear()


def _rows_called(
    count: int, columns: int, dtype: torch.dtype, kind: str, adds: bool, strict: bool
) -> tuple[int, torch.dtype]:
    x = torch.empty(count, columns, dtype=dtype)
    weight = torch.empty(columns, dtype=dtype) if kind != "l2" else None
    bias = torch.empty(columns, dtype=dtype) if kind == "layer" else None
    settings = (columns, kind, 1e-5, False)
    _, _, means, roots = rows.forward(
        x, x if adds else None, weight, bias, *settings, False, strict
    )
    rows.backward(
        x, x if adds else None, x, weight, means, roots, *settings, strict,
        None if weight is None else dtype, None if bias is None else dtype,
    )  # fmt: skip
    return columns, dtype


def _channels_called(
    shape: tuple[int, ...], dtype: torch.dtype, groups: int, last: bool, strict: bool
) -> tuple[int, torch.dtype]:
    x = torch.empty(shape, dtype=dtype)
    if last:
        x = x.to(memory_format=torch.channels_last)
    weight = torch.empty(shape[1], dtype=dtype)
    _, means, roots, _ = channels.forward(
        x, weight, weight, None, None, groups, 1e-5, False, False, strict
    )
    channels.backward(x, x, weight, means, roots, groups, False, False, strict, dtype, dtype)
    return shape[1], dtype


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
        lost = _lost(_of_llvm(made.asm["llir"]), _of_amd(text))
        inexact = re.findall(r"\bv_(?:rsq|exp|log)_f32\S*", text)
        return Compiled(
            made.name, columns, name, strict, registers, spilled, wide, narrow, inexact, lost, []
        )
    text = made.asm["ptx"]
    registers, spilled = _usage(made.asm["cubin"])
    wide = len(re.findall(r"ld\.global\S*\.v4\.b32|ld\.global\S*\.v2\.b64", text))
    narrow = len(re.findall(r"ld\.global\S*\.b16", text))
    inexact = re.findall(
        r"\b(?:fma\.rn\.f\d|rsqrt\.approx|div\.full|\w+\.approx|\w+\.\S*ftz)\S*", text
    )
    machine = _cuobjdump("-sass", made.asm["cubin"])
    lost = _lost(_of_ptx(text), _of_sass(machine))
    shuffled = [
        int(lanes) for lanes in re.findall(r"shfl\.sync\.bfly\.b32\s+[^,]+,\s*[^,]+,\s*(\d+)", text)
    ]
    return Compiled(
        made.name, columns, name, strict, registers, spilled, wide, narrow, inexact, lost, shuffled
    )


def _of_ptx(text: str) -> tuple[int, int]:
    """Count sums and products of float32; x2 is two of them."""
    sums = re.findall(r"\b(?:add|sub)(?:\.rn)?\.f32(x2)?", text)
    products = re.findall(r"\bmul(?:\.rn)?\.f32(x2)?", text)
    return _twice(sums), _twice(products)


def _of_sass(text: str) -> tuple[int, int]:
    """Likewise; FHADD adds a number of two bytes to a float32, exactly widened."""
    return _twice(re.findall(r"\bFH?ADD(2?)\b", text)), _twice(re.findall(r"\bFH?MUL(2?)\b", text))


def _of_llvm(text: str) -> tuple[int, int]:
    sums = re.findall(r"= (?:fadd|fsub) (?:contract )?(<2 x )?float", text)
    return _twice(sums), _twice(re.findall(r"= fmul (?:contract )?(<2 x )?float", text))


def _of_amd(text: str) -> tuple[int, int]:
    sums = re.findall(r"\bv_(pk_)?(?:add|sub|subrev)_f32", text)
    return _twice(sums), _twice(re.findall(r"\bv_(pk_)?mul_f32", text))


def _twice(found: list[str]) -> int:
    return sum(2 if each else 1 for each in found)


def lost_by_assembler(ptx: str) -> int:
    """Return how many sums and products of a program in PTX the assembler contracts."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "program.ptx"), Path(folder, "program.cubin")
        source.write_text(ptx, encoding="ascii")
        subprocess.run([tool, "-arch=sm_90", source, "-o", made], check=True)
        return _lost(_of_ptx(ptx), _of_sass(_cuobjdump("-sass", made.read_bytes())))


def _lost(meant: tuple[int, int], made: tuple[int, int]) -> int:
    return sum(max(0, wanted - there) for wanted, there in zip(meant, made, strict=True))


def _cuobjdump(option: str, cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        words = [f"{tool}", option, file.name]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _usage(cubin: bytes) -> tuple[int, int]:
    """Return registers and stack, as the assembler's own tool reads them."""
    said = _cuobjdump("-res-usage", cubin)
    usage = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert usage is not None, said
    return int(usage[1]), int(usage[2])


if __name__ == "__main__":
    chosen = map(int, sys.argv[2:])
    made = [asdict(each) for each in compiled(TARGETS[sys.argv[1]], *chosen)]
    sys.stdout.write(json.dumps(made))
