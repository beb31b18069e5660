"""Two kernels with faults that no mutant of ours has, and what the tracer says of them.

Run as a script: Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import triton
import triton.language as tl

from tests.kernels.memory_trace import traced


@triton.jit  # type: ignore[untyped-decorator]
def copies(source, target, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, BLOCK)
    tl.store(target + at, tl.load(source + at))


@triton.jit
def follows_the_program_before(values):  # type: ignore[no-untyped-def]
    place = tl.program_id(0)
    tl.store(values + place + 1, tl.load(values + place) + 1.0)


def main() -> None:
    """Print the faults."""
    launched: list[tuple[Any, ...]] = []
    with traced() as trace:
        copies[(1,)](torch.empty(8), torch.empty(8), BLOCK=8)
        launched.append(tuple(trace.faults))
        trace.faults.clear()
        follows_the_program_before[(3,)](torch.zeros(4))
    launched.append(tuple(trace.faults))
    sys.stdout.write(json.dumps(launched))


if __name__ == "__main__":
    main()
