"""Targets that go wrong on one rank: they die, hang, raise or return what does not fit."""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist
from torch import Tensor


def _call(x: Tensor, training: bool) -> Tensor:
    """Every rank takes part, as in any collective norm; the values do not matter."""
    if training:
        dist.all_reduce(torch.zeros(1))
    return x * 1.0


def dies_on_rank_1(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return _call(x, training)


def exits_on_rank_2(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    if dist.get_rank() == 2:
        os._exit(3)
    return _call(x, training)


def hangs_on_rank_0(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    while dist.get_rank() == 0:
        time.sleep(0.1)
    return x * 1.0


def skips_an_empty_shard(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Raises where there is nothing to do, and leaves the others waiting."""
    if not x.numel():
        raise ValueError("x is empty, but must have a sample")
    return _call(x, training)


def refuses_everywhere(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    raise TypeError(f"x is {x.dtype}, but must be int8")


def whole_on_rank_0(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return torch.cat([x, x]) if dist.get_rank() == 0 else x * 1.0


def prints(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Writes to standard output, from Python and from below it."""
    sys.stdout.write("a line among the answers\n")
    sys.stdout.flush()
    os.write(1, b"\x00\x01 and another\n")
    return _call(x, training)
