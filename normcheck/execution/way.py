"""How a call is made, besides what is passed: paths through a framework, and memory layouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from normcheck.numerics.formats import BY_NAME

__all__ = ["Way", "poisoned_allocator"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to call a target.

    Attributes:
        gradients: Whether gradients are taken.
        wanted: Tensors that require a gradient, by the op's name; None for all that can.
        inference: Whether the call is made in ``torch.inference_mode``.
        autocast: Name of a format that ``torch.autocast`` computes in, "" without.
        poisoned: Whether ``torch.empty`` hands out NaN.
        arranged: Memory layouts (see `arrangement`), by the op's name or ``dy``; what is not named
            keeps the layout of the case.
    """

    gradients: bool = False
    wanted: tuple[str, ...] | None = None
    inference: bool = False
    autocast: str = ""
    poisoned: bool = False
    arranged: tuple[tuple[str, str], ...] = ()

    @contextmanager
    def entered(self, device: torch.device) -> Iterator[None]:
        """Enter the modes of torch that this way consists of."""
        with ExitStack() as stack:
            if self.inference:
                stack.enter_context(torch.inference_mode())
            else:
                stack.enter_context(torch.set_grad_enabled(self.gradients))
            if self.autocast:
                stack.enter_context(torch.autocast(device.type, dtype=BY_NAME[self.autocast]))
            if self.poisoned:
                stack.enter_context(poisoned_allocator())
            yield


@contextmanager
def poisoned_allocator() -> Iterator[None]:
    """Let ``torch.empty`` hand out NaN, so that what is never written cannot look right by chance.

    torch fills uninitialised memory while it is asked for deterministic algorithms. Asking for
    them only warns here: an operation that has none must still run.
    """
    mode = torch.get_deterministic_debug_mode()
    # Not use_deterministic_algorithms, which imports a compiler for a second.
    torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
