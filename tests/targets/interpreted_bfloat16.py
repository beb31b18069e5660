"""Do in Triton's interpreter, as normcheck mends it, what the tests compare with torch.

Leaves what was computed in the file that is named.
"""

from __future__ import annotations

import os
import sys
import threading

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton
import triton.language as tl

from normcheck.targets.triton_interpreter import mend

BLOCK = 1 << 10


@triton.jit
def operations(x, y, results, truths, BLOCK: tl.constexpr):
    """Leave a line of BLOCK results for each operation."""
    place = tl.arange(0, BLOCK)
    a, b = tl.load(x + place), tl.load(y + place)
    tl.store(results + place, a + b)
    tl.store(results + BLOCK + place, a - b)
    tl.store(results + 2 * BLOCK + place, a * b)
    tl.store(results + 3 * BLOCK + place, a / b)
    tl.store(results + 4 * BLOCK + place, -a)
    tl.store(results + 5 * BLOCK + place, a * 1.3)
    tl.store(results + 6 * BLOCK + place, tl.maximum(a, b))
    tl.store(results + 7 * BLOCK + place, tl.where(a < b, a, b))
    tl.store(results + 8 * BLOCK + place, tl.abs(a))
    tl.store(results + 9 * BLOCK + place, tl.fma(a, b, a))
    tl.store(truths + place, a < b)
    tl.store(truths + BLOCK + place, a == a)


@triton.jit
def shifted(x, results, exact, single, double: tl.float64, BLOCK: tl.constexpr):
    """Add a float, of float32 unless it says otherwise, and leave both as float64."""
    place = tl.arange(0, BLOCK)
    tl.store(results + place, tl.load(x + place) + single)
    tl.store(exact + place, tl.full((BLOCK,), 0.0, tl.float64) + single)
    tl.store(exact + BLOCK + place, tl.full((BLOCK,), 0.0, tl.float64) + double)


@triton.jit
def largest_of(a, b):
    """What a running maximum combines."""
    return tl.maximum(a, b)


@triton.jit
def running(x, y, sums, BLOCK: tl.constexpr):
    """Leave the running maximum, and sums along the last axis, kept as one."""
    place = tl.arange(0, BLOCK)
    a = tl.load(x + place)
    tl.store(y + place, tl.associative_scan(a, 0, largest_of))
    kept = tl.sum(tl.reshape(a, (32, BLOCK // 32)), axis=-1, keep_dims=True)
    tl.store(sums + tl.arange(0, 32)[:, None], kept)


@triton.jit
def reductions(x, total, lines, largest, BLOCK: tl.constexpr):
    """Leave the sum of all, of lines, and the largest."""
    place = tl.arange(0, BLOCK)
    a = tl.load(x + place)
    tl.store(total, tl.sum(a))
    tl.store(lines + tl.arange(0, 32), tl.sum(tl.reshape(a, (32, BLOCK // 32)), 1))
    tl.store(largest, tl.max(a))


@triton.jit
def atomic(x, y, BLOCK: tl.constexpr):
    """Add atomically."""
    place = tl.arange(0, BLOCK)
    tl.atomic_add(y + place, tl.load(x + place))


@triton.jit
def numbered(y, count):
    """Leave the number of each program."""
    program = tl.program_id(0)
    tl.store(y + program, program)


def refusal(x: torch.Tensor) -> str:
    """Return what an atomic addition in bfloat16 raises."""
    try:
        atomic[(1,)](x, x.clone(), BLOCK=BLOCK)
    except Exception as error:
        return str(error)
    return ""


def places_of_two_threads() -> torch.Tensor:
    """Launch from two threads at once, several times."""
    sys.setswitchinterval(1e-5)
    outputs = [torch.full((200,), -1, dtype=torch.int32) for _ in range(6)]

    def work(first: int) -> None:
        for y in outputs[first::2]:
            numbered[(200,)](y, 200)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return torch.stack(outputs)


def main() -> None:
    """Compute everything once."""
    note = mend()
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randn(BLOCK, generator=generator).bfloat16() * 3 for _ in range(2))
    y[0] = torch.nan
    x[1], y[1] = 1e-39, 1e-39
    results, truths = torch.empty(10, BLOCK, dtype=torch.bfloat16), torch.empty(2, BLOCK).bool()
    operations[(1,)](x, y, results, truths, BLOCK=BLOCK)
    total, largest, lines = (torch.empty(n, dtype=torch.bfloat16) for n in (1, 1, 32))
    reductions[(1,)](x, total, lines, largest, BLOCK=BLOCK)
    sums, exact = torch.empty(BLOCK), torch.empty(2, BLOCK, dtype=torch.float64)
    shifted[(1,)](x, sums, exact, 1e-5, 1e-5, BLOCK=BLOCK)
    maxima, kept = torch.empty(BLOCK, dtype=torch.bfloat16), torch.empty(32, dtype=torch.bfloat16)
    running[(1,)](x, maxima, kept, BLOCK=BLOCK)
    found = {
        "sums": sums, "exact": exact, "maxima": maxima, "kept": kept,
        "x": x, "y": y, "results": results, "truths": truths, "total": total, "lines": lines,
        "largest": largest, "places": places_of_two_threads(),
    }  # fmt: skip
    torch.save(found | {"refusal": refusal(x), "note": note}, sys.argv[1])


if __name__ == "__main__":
    main()
