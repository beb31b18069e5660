"""degenerate_arguments: what kills a process is named, what is nonsense is found."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from normcheck.cases.corpus import corpus
from normcheck.ops import catalogue
from normcheck.properties.property import Status
from tests.properties.one_case import judged

HONEST = Path(__file__).parent.parent / "honest"
ROWS = "nc1:layer_norm/f32/6x64/calm/seed=10"
GROUPS = "nc1:group_norm/f32/4x6x9/calm/groups=2/seed=10"
BATCH = "nc1:batch_norm/f32/4x6x9/calm/seed=10"
Affine = Tensor | None
TORCH = {"l2_norm": "normalize"}


def layer(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def grouped(x: Tensor, num_groups: int, weight: Affine, bias: Affine, eps: float) -> Tensor:
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"num_groups is {num_groups}, but must divide {x.shape[1]}")
    # Not torch's own group_norm, whose weight gradient is NaN where there are no positions.
    values = x.reshape(x.shape[0], num_groups, -1)
    centred = values - values.mean(2, keepdim=True)
    root = torch.rsqrt(centred.square().mean(2, keepdim=True) + eps)
    shape = (1, -1, *[1] * (x.dim() - 2))
    y = (centred * root).reshape(x.shape)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def batch(
    x: Tensor,
    running_mean: Affine,
    running_var: Affine,
    weight: Affine,
    bias: Affine,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    return functional.batch_norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps
    )


def divides_by_zero(x: Tensor, num_groups: int, weight: Affine, bias: Affine, eps: float) -> Tensor:
    if num_groups == 0:
        os.kill(os.getpid(), signal.SIGFPE)
    return grouped(x, num_groups, weight, bias, eps)


def rounds_groups(x: Tensor, num_groups: int, weight: Affine, bias: Affine, eps: float) -> Tensor:
    known = num_groups > 0 and x.shape[1] % num_groups == 0
    return grouped(x, num_groups if known else 1, weight, bias, eps)


def reads_null(
    x: Tensor,
    running_mean: Affine,
    running_var: Affine,
    weight: Affine,
    bias: Affine,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    if not training and running_mean is None:
        ctypes.string_at(0)
    return batch(x, running_mean, running_var, weight, bias, training, momentum, eps)


def pads_buffers(
    x: Tensor,
    running_mean: Affine,
    running_var: Affine,
    weight: Affine,
    bias: Affine,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    if running_var is not None and running_var.numel() < x.shape[1]:
        running_var = torch.ones(x.shape[1], dtype=x.dtype)
    return batch(x, running_mean, running_var, weight, bias, training, momentum, eps)


def leaves_quietly(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    if x.numel() == 0:
        os._exit(0)
    return layer(x, weight, bias, eps)


def exits(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    if eps < 0:
        raise SystemExit(3)
    return layer(x, weight, bias, eps)


def dies_in_backward(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    y = layer(x, weight, bias, eps)
    if x.shape[0] == 0 and y.requires_grad:
        y.register_hook(lambda g: os.kill(os.getpid(), signal.SIGSEGV))  # type: ignore[no-untyped-call]
    return y


def clamps(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    y = centred * torch.rsqrt((variance + eps).clamp_min(1e-12))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def drops_sign(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return layer(x, weight, bias, abs(eps))


def one_row(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return layer(x, weight, bias, eps) if x.shape[0] else x.new_zeros(1, *x.shape[1:])


class _NothingIsNan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, y: Tensor, weight: Tensor) -> Tensor:
        ctx.shape = weight.shape  # type: ignore[attr-defined]
        return y.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[Tensor, Tensor]:
        value = float("nan") if g.numel() == 0 else 0.0
        return g, torch.full(ctx.shape, value)  # type: ignore[attr-defined]


def unwritten_gradient(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    y = layer(x, weight, bias, eps)
    if weight is None:
        return y
    found: Tensor = _NothingIsNan.apply(y, weight)  # type: ignore[no-untyped-call]
    return found


def hangs(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    while x.numel() == 0:
        time.sleep(0.01)
    return layer(x, weight, bias, eps)


def found(target: Callable[..., object], case: str, limit_s: float = 20.0) -> str:
    outcome = judged("degenerate_arguments", target, case, limit_s=limit_s)
    assert outcome.status is Status.VIOLATED, outcome
    assert outcome.finding is not None
    assert not outcome.finding.dead, "it is safe to repeat: only a child dies"
    return f"{outcome.finding.tensor}: {outcome.finding.detail}"


@pytest.mark.parametrize(
    ("target", "case", "text"),
    [
        (divides_by_zero, GROUPS, "target: groups=0 ended the process with signal 8 (SIGFPE)"),
        (rounds_groups, GROUPS, "y: values came back, but no value has a meaning, groups=0"),
        (
            reads_null,
            BATCH,
            "target: no running statistics in eval mode ended the process with signal 11 (SIGSEGV)",
        ),
        (
            pads_buffers,
            BATCH,
            "y: values came back, but no value has a meaning, "
            "running_var of 0 values for 6 channels in train mode",
        ),
        (leaves_quietly, ROWS, "target: zero rows ended the process with status 0"),
        (exits, ROWS, "target: the target ended the process with SystemExit: 3, eps=-0.01"),
        (
            dies_in_backward,
            ROWS,
            "target: zero rows with gradients ended the process with signal 11 (SIGSEGV)",
        ),
        (clamps, ROWS, "y: finite, but var + eps is negative, eps=-1e+06"),
        (drops_sign, ROWS, ", eps=-0.01"),
        (one_row, ROWS, "y: shape is (1, 6), but x has (0, 6), zero rows"),
        (
            unwritten_gradient,
            ROWS,
            "grad_weight: not zero, though it sums over nothing, zero rows with gradients",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_is_found_and_named(target: Callable[..., object], case: str, text: str) -> None:
    assert text in found(target, case)


def test_a_call_that_never_returns_is_ended() -> None:
    assert "did not return within 0.2 s, zero rows" in found(hangs, ROWS, limit_s=0.2)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("target", "case"),
    [
        (layer, "layer_norm/{}/6x64/calm/seed=10"),
        (layer, "layer_norm/{}/33x2/mix/seed=4"),
        (f"{HONEST / 'implementations.py'}:layer_norm_two_pass", "layer_norm/{}/6x64/calm/seed=10"),
        (f"{HONEST / 'implementations.py'}:rms_norm_llama", "rms_norm/{}/6x64/calm/seed=10"),
        (f"{HONEST / 'implementations.py'}:l2_norm_two_pass", "l2_norm/{}/6x64/calm/seed=10"),
        (
            f"{HONEST / 'implementations.py'}:add_rms_norm_unrounded",
            "add_rms_norm/{}/6x64/calm/seed=10",
        ),
        ("torch.nn.functional:rms_norm", "rms_norm/{}/4x3x5/calm/dims=2/seed=20"),
        ("torch.nn:LayerNorm", "layer_norm/{}/6x64/calm/seed=10"),
        (
            f"{HONEST / 'channels.py'}:group_norm_two_pass",
            "group_norm/{}/4x6x9/calm/groups=2/seed=10",
        ),
        (f"{HONEST / 'channels.py'}:batch_norm_two_pass", "batch_norm/{}/4x6x9/calm/seed=10"),
        (f"{HONEST / 'channels.py'}:instance_norm_two_pass", "instance_norm/{}/4x6x9/calm/seed=10"),
        (batch, "batch_norm/{}/4x6x9/calm/seed=10"),
        ("torch.nn:BatchNorm1d", "batch_norm/{}/4x6x9/calm/seed=10"),
    ],
)
def test_honest_implementations_pass(
    target: str | Callable[..., object], case: str, dtype: str
) -> None:
    outcome = judged("degenerate_arguments", target, f"nc1:{case.format(dtype)}")
    assert outcome.status is Status.HELD, outcome


def test_group_norm_of_torch_has_no_weight_gradient_of_nothing() -> None:
    # docs/findings.md has it; the same in plain torch.
    x, weight = torch.randn(3, 4, 0, requires_grad=True), torch.ones(4, requires_grad=True)
    (found_plain,) = torch.autograd.grad(functional.group_norm(x, 2, weight).sum(), weight)
    if bool((found_plain == 0).all()):
        pytest.skip("this release of torch writes zeros")
    told = found(functional.group_norm, GROUPS)
    assert told.startswith("grad_weight: not zero, though it sums over nothing, zero columns")


def test_jax_is_not_forked() -> None:
    pytest.importorskip("jax")
    jax_target = f"{HONEST / 'third_party' / 'jax_norms.py'}:rms_norm"
    outcome = judged("degenerate_arguments", jax_target, "nc1:rms_norm/f32/6x64/calm/seed=10")
    assert outcome.status is Status.UNSUPPORTED
    assert "cannot be forked safely" in outcome.reason


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "group_norm", "batch_norm", "l2_norm"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_quick_looks_at_two_cases_of_each_op(op: str, dtype: str) -> None:
    target = layer if op == "layer_norm" else f"torch.nn.functional:{TORCH.get(op, op)}"
    cases = corpus(catalogue.find(op), dtype, 1)
    outcomes = [judged("degenerate_arguments", target, case.id) for case in cases]
    assert sum(outcome.status is not Status.INAPPLICABLE for outcome in outcomes) >= 2
