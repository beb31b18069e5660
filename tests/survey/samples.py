"""Implementations that a survey meets: right, wrong, refusing, dying and hanging ones."""

import os
import signal
import time

from torch import Tensor
from torch.nn import functional


def right(x: Tensor, eps: float) -> Tensor:
    return functional.normalize(x, dim=-1, eps=eps)


def wrong(x: Tensor, eps: float) -> Tensor:
    return x / x.abs().sum(-1, keepdim=True).clamp_min(eps)


def refuses(x: Tensor, eps: float) -> Tensor:
    raise NotImplementedError("not on this machine")


def dies(x: Tensor, eps: float) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def hangs(x: Tensor, eps: float) -> Tensor:
    time.sleep(600)
    return x
