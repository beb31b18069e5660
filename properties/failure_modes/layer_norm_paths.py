"""Layer norms that are wrong on one path, in one mode, for one argument or on a later call."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import torch
from torch import Tensor

from normcheck.properties.failure_modes.right_ops import layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@layer_norm("root")
def eps_lost_without_gradients(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, eps if torch.is_grad_enabled() else 1e-12, frame)


@layer_norm("variance")
def one_pass_with_gradients(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    if not h.requires_grad:
        return right(h, mean, frame)
    return (averaged(h.square(), frame) - mean.square()).clamp_min(0)


@layer_norm("root")
def eps_lost_in_inference_mode(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, 1e-12 if torch.is_inference_mode_enabled() else eps, frame)


@layer_norm("root")
def eps_lost_when_compiled(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, 1e-12 if torch.compiler.is_compiling() else eps, frame)


@layer_norm("read")
def bfloat16_when_compiled(right: Step, x: Tensor, frame: Frame) -> Tensor:
    narrow = torch.compiler.is_compiling() and x.dtype == torch.float32
    return right(x.bfloat16().float() if narrow else x, frame)


@layer_norm("affine")
def bias_needs_weight(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, weight, None if weight is None else bias, frame)


@layer_norm("affine")
def weight_needs_bias(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    return right(y, None if bias is None else weight, bias, frame)


@layer_norm("affine")
def bias_in_the_slot_of_weight(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # Optional arguments are packed: the only one that is given is read as the first.
    return right(y, bias, None, frame) if weight is None else right(y, weight, bias, frame)


_WEIGHTS: dict[tuple[int, torch.Size, torch.dtype], Tensor] = {}


@layer_norm("affine")
def weight_cached_by_identity(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    if weight is None or weight.requires_grad:
        return right(y, weight, bias, frame)
    key = (id(weight), weight.shape, weight.dtype)
    return right(y, _WEIGHTS.setdefault(key, weight.clone()), bias, frame)


_BY_ADDRESS: dict[tuple[int, torch.Size], tuple[Tensor, Tensor]] = {}


@layer_norm("call")
def output_cached_by_address(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    if x.requires_grad or not x.numel():
        return right(x, weight, bias, eps, frame)
    # The cached input is kept, so that its address is not handed out again while it is known.
    key = (x.data_ptr(), x.shape)
    if key not in _BY_ADDRESS:
        _BY_ADDRESS.clear()
        _BY_ADDRESS[key] = (x, right(x, weight, bias, eps, frame))
    return _BY_ADDRESS[key][1].to(x.dtype, copy=True)


_BY_SHAPE: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


@layer_norm("root")
def root_cached_by_shape(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    root: Tensor = right(variance, eps, frame)
    if root.requires_grad:
        return root
    return _BY_SHAPE.setdefault((torch.Size(frame.view), root.dtype), root)


_IN_A_ROW: dict[torch.Size, int] = {}


@layer_norm("root")
def eleventh_call(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    # After ten calls of one shape a specialised path takes over, and it has lost eps.
    shape = torch.Size(frame.view)
    calls = 1 + _IN_A_ROW.get(shape, 0)
    _IN_A_ROW.clear()
    _IN_A_ROW[shape] = calls
    root: Tensor = right(variance, eps if calls <= 10 else 0.0, frame)
    return root


_SCRATCH: dict[torch.Size, Tensor] = {}


@layer_norm("mean")
def shared_scratch(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # One buffer for all callers: what one thread has written, another overwrites before it is read.
    mean: Tensor = right(h, frame)
    if h.requires_grad:
        return mean
    buffer = _SCRATCH.setdefault(mean.shape, torch.empty_like(mean))
    buffer.copy_(mean)
    if threading.active_count() > 1:
        time.sleep(0.001)  # lets another thread run, as a longer kernel would
    return buffer.to(mean.dtype, copy=True)


@layer_norm("root")
def negative_eps_made_positive(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, abs(eps), frame)


@layer_norm("call")
def ends_without_rows(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    if not x.numel():
        sys.exit("invalid launch configuration")
    return right(x, weight, bias, eps, frame)


@layer_norm("call")
def division_by_zero_when_empty(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    if frame.view == (0, 0):
        os.kill(os.getpid(), signal.SIGFPE)
    return right(x, weight, bias, eps, frame)


@layer_norm("dw")
def unwritten_gradient_without_rows(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(terms, frame)
    return found if terms.shape[0] else torch.full_like(found, float("nan"))
