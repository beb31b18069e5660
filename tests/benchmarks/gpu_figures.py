"""What `gpu.py` measured: how it is printed and kept, and where a kernel is behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

__all__ = ["COMPILED", "EAGER", "OURS", "STRICT", "Figure", "behind", "keep", "line"]

OURS, STRICT, EAGER, COMPILED = "normcheck", "normcheck strict", "torch", "compiled"
# Of the copy: what the kernels are to reach.
TARGETS = {"forward": 0.92, "backward": 0.85}


@dataclass(frozen=True)
class Figure:
    """One implementation in one direction on one shape."""

    op: str
    shape: tuple[int, ...]
    dtype: str
    direction: str
    implementation: str
    seconds: float
    floor_bytes: int
    of_copy: float
    reachable: float


def behind(found: list[Figure]) -> Iterator[str]:
    """Say where our kernels miss what they are to reach."""
    best = {(f.op, f.shape, f.dtype, f.direction, f.implementation): f.of_copy for f in found}
    may = {(f.op, f.shape, f.dtype, f.direction): f.reachable for f in found}
    for (op, shape, dtype, direction, name), reached in best.items():
        at = f"{op} {direction} {shape} {dtype}: {name}"
        # Bytes beyond the floor are the plan's, and docs/kernels.md lists them.
        wanted = TARGETS[direction] * may[op, shape, dtype, direction]
        if name == OURS and reached < wanted:
            yield f"{at} reaches {reached:.1%} of the copy, not {wanted:.0%}"
        ours = best.get((op, shape, dtype, direction, OURS), 0.0)
        if name == STRICT and reached < 0.95 * ours:
            yield f"{at} reaches {reached / ours:.1%} of fast, not 95%"
        if name not in (OURS, STRICT) and reached > ours:
            yield f"{at} is ahead, {reached:.1%} of the copy to {ours:.1%}"


def line(figure: Figure | str) -> str:
    """Return a line of the table."""
    if isinstance(figure, str):
        return figure
    shape = "x".join(map(str, figure.shape))
    return (
        f"{figure.op:15} {figure.direction:8} {shape:>18} {figure.dtype:9}"
        f" {figure.implementation:22} {figure.seconds * 1e6:10.1f} us {figure.of_copy:7.1%}"
        f" of {figure.reachable:.0%}"
    )


def keep(
    file: Path, device: str, found: list[Figure], raised: list[str], *, finished: bool
) -> None:
    """Write all that was measured until now."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
    document = {"device": name, "torch": torch.__version__, "behind": list(behind(found)),
                "raised": raised, "finished": finished,
                "figures": [asdict(each) for each in found]}  # fmt: skip
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
