"""vmap: wrong batching rules are found, right ones and refusals are not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from normcheck.properties.property import Status
from tests.fresh_process import run_python
from tests.properties.one_case import judged

HONEST = Path(__file__).parent.parent / "honest"
IMPLEMENTATIONS, CHANNELS = f"{HONEST / 'implementations.py'}:", f"{HONEST / 'channels.py'}:"
CASE = "nc1:rms_norm/{}/6x64/calm/seed=10"
BARE = "nc1:rms_norm/{}/33x8/calm/weight=none/seed=6"
# Of the standard tables: there each is differentiated by itself, too.
DEEPER = "nc1:rms_norm/{}/33x8/calm/weight=none/seed=46"
Affine = Tensor | None
Dims = tuple[int | None, ...]


def normalised(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


class Own(torch.autograd.Function):
    """Its own backward pass, and its own rule for a batch."""

    @staticmethod
    def forward(x: Tensor, eps: float) -> Tensor:
        return normalised(x, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.eps = inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        x_hat = x * root
        return root * (g - x_hat * (g * x_hat).mean(-1, keepdim=True)), None

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, eps: float) -> tuple[Tensor, int]:
        assert dims[0] is not None
        return Own.apply(x.movedim(dims[0], 0), eps), 0  # type: ignore[no-untyped-call]


class FirstOnly(Own):
    """Believes that the batch always comes first."""

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, eps: float) -> tuple[Tensor, int]:
        return FirstOnly.apply(x, eps), 0  # type: ignore[no-untyped-call]


class Transposed(Own):
    """Reduces over another dimension in a batch."""

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, eps: float) -> tuple[Tensor, int]:
        assert dims[0] is not None
        x = x.movedim(dims[0], 0)
        return x * torch.rsqrt(x.square().mean((0, -1), keepdim=True) + eps), 0


class _Gradient(torch.autograd.Function):
    """The gradient as a function of its own, whose rule for a batch mixes the samples."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, eps: float) -> Tensor:
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        return root * (g - x * root * (g * x * root).mean(-1, keepdim=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is saved."""

    @staticmethod
    def vmap(info: Any, dims: Dims, g: Tensor, x: Tensor, eps: float) -> tuple[Tensor, int]:
        assert dims[0] is not None
        assert dims[1] is not None
        g, x = g.movedim(dims[0], 0), x.movedim(dims[1], 0)
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        return root * (g - x * root * (g * x * root).mean((0, -1), keepdim=True)), 0


class WrongGradient(Own):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        found: Tensor = _Gradient.apply(g, ctx.saved_tensors[0], ctx.eps)  # type: ignore[no-untyped-call]
        return found, None

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, eps: float) -> tuple[Tensor, int]:
        assert dims[0] is not None
        return WrongGradient.apply(x.movedim(dims[0], 0), eps), 0  # type: ignore[no-untyped-call]


class _Mixed(Own):
    """Right forward; backward mixes the samples of what it takes for one batch."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x = ctx.saved_tensors[0]
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        return root * (g - x * root * (g * x * root).mean((0, -1), keepdim=True)), None


class WrongBatchGradient(Own):
    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, eps: float) -> tuple[Tensor, int]:
        assert dims[0] is not None
        return _Mixed.apply(x.movedim(dims[0], 0), eps), 0  # type: ignore[no-untyped-call]


def through(kind: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    def rms_norm(x: Tensor, weight: Affine, eps: float) -> Tensor:
        value: Tensor = kind.apply(x, eps)  # type: ignore[no-untyped-call]
        return value if weight is None else value * weight

    return rms_norm


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("kind", "case", "text"),
    [
        (FirstOnly, BARE, "batched along the last dimension"),
        (Transposed, BARE, "batched along the first dimension, result 0"),
        (WrongBatchGradient, BARE, "and differentiated, result 0"),
        (WrongGradient, DEEPER, "each differentiated by torch.func.vjp, result 0"),
    ],
)
def test_a_wrong_rule_is_found(
    kind: type[torch.autograd.Function], case: str, text: str, dtype: str
) -> None:
    # Without a weight: with one, a batch in the wrong place would not fit and be refused.
    outcome = judged("vmap", through(kind), case.format(dtype))
    assert outcome.status is Status.VIOLATED, outcome
    assert outcome.finding is not None
    assert text in outcome.finding.detail
    assert "under torch.func.vmap" in outcome.finding.detail


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("target", "case"),
    [
        (through(Own), CASE),
        (f"{IMPLEMENTATIONS}rms_norm_llama", CASE),
        (f"{IMPLEMENTATIONS}layer_norm_two_pass", "nc1:layer_norm/{}/6x64/calm/seed=10"),
        (f"{IMPLEMENTATIONS}add_rms_norm_unrounded", "nc1:add_rms_norm/{}/6x64/calm/seed=10"),
        (f"{CHANNELS}group_norm_two_pass", "nc1:group_norm/{}/4x6x9/calm/groups=2/seed=10"),
        (f"{CHANNELS}batch_norm_two_pass", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
        ("torch.nn.functional:layer_norm", "nc1:layer_norm/{}/6x64/calm/seed=10"),
        ("torch.nn.functional:rms_norm", CASE),
        ("torch.nn.functional:batch_norm", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
        ("torch.nn.functional:group_norm", "nc1:group_norm/{}/4x6x9/calm/groups=2/seed=10"),
        ("torch.nn:LayerNorm", "nc1:layer_norm/{}/6x64/calm/seed=10"),
        ("torch.nn:BatchNorm1d", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
    ],
)
def test_right_targets_hold(target: str | Callable[..., Tensor], case: str, dtype: str) -> None:
    outcome = judged("vmap", target, case.format(dtype))
    assert outcome.status is Status.HELD, outcome
    assert outcome.ratio <= 1.0


def test_a_function_without_a_rule_is_no_fault() -> None:
    case = "nc1:layer_norm/f32/6x64/calm/seed=10"
    outcome = judged("vmap", f"{IMPLEMENTATIONS}layer_norm_welford", case)
    assert outcome.status is Status.UNSUPPORTED
    assert "under torch.func.vmap, batched along the first dimension" in outcome.reason


QUICK = """
import sys

import normcheck

record = normcheck.run("torch.nn.functional:rms_norm", dtypes=["float32"], profile="quick",
                       properties=["vmap"], verdict_only=True)
print(record.checks[0].verdict.value, "torch._dynamo" in sys.modules)
"""


def test_the_quick_profile_does_not_load_torchs_compiler(tmp_path: Path) -> None:
    """Two of its eight seconds."""
    script = tmp_path / "quick.py"
    script.write_text(QUICK)
    assert run_python([f"{script}"], tmp_path, os.environ).stdout == "pass False\n"
