"""Targets that the command line is tried on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import torch
from torch import Tensor

NOT_CALLABLE = 3


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    h = x if x.dtype == torch.float64 else x.float()
    c = h - h.mean(-1, keepdim=True)
    y = c * torch.rsqrt((c * c).mean(-1, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(x.dtype)


def layer_norm_talkative(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    sys.stdout.write("this must not reach stdout\n")
    return layer_norm(x, weight, bias, eps)


def layer_norm_ignores_eps(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return layer_norm(x, weight, bias, 1e-12)


def layer_norm_float32_only(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if x.dtype != torch.float32:
        raise TypeError(f"{x.dtype} is not supported")
    return layer_norm(x, weight, bias, eps)


def layer_norm_refuses(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    raise NotImplementedError("no such kernel")


def layer_norm_returns_list(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> object:
    return [layer_norm(x, weight, bias, eps)]


def layer_norm_returns_nothing(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> None:
    layer_norm(x, weight, bias, eps)


def layer_norm_exits(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    sys.exit(0)


def layer_norm_hangs(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    while True:
        time.sleep(0.01)


def layer_norm_deaf(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


def layer_norm_deaf_in_threads(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if threading.current_thread() is not threading.main_thread():
        layer_norm_deaf(x, weight, bias, eps)
    return layer_norm(x, weight, bias, eps)


def layer_norm_unknown_parameter(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, temperature: float
) -> Tensor:
    return layer_norm(x, weight, bias, eps) * temperature


def layer_norm_ambiguous(
    x: Tensor, gamma: Tensor | None, scale: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return layer_norm(x, gamma, bias, eps)


def layer_norm_dies(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    os._exit(0)


def layer_norm_hangs_on_wide_bfloat16(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    while x.dtype == torch.bfloat16 and x.shape[-1] > 300:
        time.sleep(0.01)
    return layer_norm(x, weight, bias, eps)


def layer_norm_dies_on_wide_bfloat16(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if x.dtype == torch.bfloat16 and x.shape[-1] > 1000:
        os._exit(7)
    return layer_norm(x, weight, bias, eps)


def layer_norm_crashes(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    os.kill(os.getpid(), signal.SIGSEGV)
    return x


def layer_norm_returns_meta(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    return layer_norm(x, weight, bias, eps).to("meta")


def layer_norm_resizes(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    y = layer_norm(x, weight, bias, eps)
    if not x.requires_grad:
        x.resize_(0)
    return y


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def layer_norm_speechless(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    raise _SpeechlessError


def layer_norm_surrogate(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    raise ValueError("half a pair: \udcff")


def layer_norm_closes_stdout(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    sys.stdout.close()
    return layer_norm(x, weight, bias, eps)


def layer_norm_detaches_wide_rows(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = layer_norm(x, weight, bias, eps)
    return y.detach() if x.shape[-1] > 64 else y


def layer_norm_dies_where_it_is_shrunk(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Wrong on one row with a large offset; a short one of that kind ends the process."""
    mean, deviation = float(x.detach().float().mean().abs()), float(x.detach().float().std())
    offset = x.numel() == x.shape[-1] > 1 and 500 < mean < 2000 and 0.5 < deviation < 2
    if offset and x.shape[-1] < 100:
        os.kill(os.getpid(), signal.SIGSEGV)
    return layer_norm(x, weight, bias, eps) * (1.5 if offset else 1.0)


def layer_norm_dies_on_large_offsets(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if x.shape == (4, 256) and float(x.detach().abs().max()) > 1e5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return layer_norm(x, weight, bias, eps)
