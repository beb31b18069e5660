"""compiled: what is wrong only when traced is found; who cannot be traced is not blamed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from normcheck.cases.corpus import corpus
from normcheck.ops import catalogue
from normcheck.properties.compiled import looks_at
from normcheck.properties.property import Status
from tests.properties.one_case import judged, trial_of

HONEST = Path(__file__).parent.parent / "honest"
IMPLEMENTATIONS, CHANNELS = f"{HONEST / 'implementations.py'}:", f"{HONEST / 'channels.py'}:"
CASE = "nc1:rms_norm/{}/64x64/calm/seed=48"
Affine = Tensor | None

# What dynamo and the names in its own modules say about themselves is no business of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


def rms_norm(x: Tensor, weight: Affine, eps: float) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], weight, eps)


def other_eps(x: Tensor, weight: Affine, eps: float) -> Tensor:
    return rms_norm(x, weight, 0.01 if torch.compiler.is_compiling() else eps)


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> Tensor:
        return g * 1.5


def other_gradient(x: Tensor, weight: Affine, eps: float) -> Tensor:
    y = rms_norm(x, weight, eps)
    if torch.compiler.is_compiling():
        found: Tensor = _Scaled.apply(y)  # type: ignore[no-untyped-call]
        return found
    return y


def other_shape(x: Tensor, weight: Affine, eps: float) -> Tensor:
    y = rms_norm(x, weight, eps)
    return y.flatten() if torch.compiler.is_compiling() else y


def half_statistics(x: Tensor, weight: Affine, eps: float) -> Tensor:
    if not torch.compiler.is_compiling():
        return rms_norm(x, weight, eps)
    root = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return x * root if weight is None else x * root * weight


def untraceable(x: Tensor, weight: Affine, eps: float) -> Tensor:
    if x.sum().item() > 1e30:
        return x
    return rms_norm(x, weight, eps)


class Wrong(nn.Module):
    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return other_eps(x, self.weight, self.eps)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("target", "tensor"),
    [(other_eps, ""), (other_gradient, "grad_"), (other_shape, "y"), (Wrong, "")],
)
def test_what_is_wrong_only_when_compiled_is_found(
    target: Callable[..., object], tensor: str, dtype: str
) -> None:
    outcome = judged("compiled", target, CASE.format(dtype))
    assert outcome.status is Status.VIOLATED, outcome
    assert outcome.finding is not None
    assert outcome.finding.tensor.startswith(tensor)
    assert "under torch.compile" in outcome.finding.detail


def test_statistics_in_bfloat16_only_when_compiled_are_found() -> None:
    assert judged("compiled", half_statistics, CASE.format("bf16")).status is Status.VIOLATED
    assert judged("compiled", half_statistics, CASE.format("f32")).status is Status.HELD


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
@pytest.mark.parametrize(
    ("target", "case"),
    [
        (rms_norm, CASE),
        (f"{IMPLEMENTATIONS}rms_norm_llama", CASE),
        (f"{IMPLEMENTATIONS}layer_norm_two_pass", "nc1:layer_norm/{}/17x4/calm/eps=0.0/seed=60"),
        (f"{IMPLEMENTATIONS}layer_norm_into", "nc1:layer_norm/{}/64x64/calm/seed=48"),
        (f"{IMPLEMENTATIONS}layer_norm_welford", "nc1:layer_norm/{}/17x4/calm/eps=0.0/seed=60"),
        (f"{CHANNELS}group_norm_two_pass", "nc1:group_norm/{}/37x36x3/mix/groups=4/seed=45"),
        (f"{CHANNELS}batch_norm_two_pass", "nc1:batch_norm/{}/37x36x3/mix/momentum=0.5/seed=45"),
        ("torch.nn.functional:layer_norm", "nc1:layer_norm/{}/64x64/calm/seed=48"),
        ("torch.nn.functional:batch_norm", "nc1:batch_norm/{}/37x36x3/mix/momentum=0.5/seed=45"),
        ("torch.nn:LayerNorm", "nc1:layer_norm/{}/64x64/calm/seed=48"),
        ("torch.nn:BatchNorm1d", "nc1:batch_norm/{}/37x36x3/mix/momentum=0.5/seed=45"),
    ],
)
def test_honest_targets_hold(target: str | Callable[..., object], case: str, dtype: str) -> None:
    outcome = judged("compiled", target, case.format(dtype))
    assert outcome.status is Status.HELD, outcome


def test_one_graph_or_nothing() -> None:
    outcome = judged("compiled", untraceable, CASE.format("f32"))
    assert outcome.status is Status.UNSUPPORTED
    assert outcome.reason


def test_numpy_is_not_compiled() -> None:
    target = f"{HONEST / 'third_party' / 'numpy_norms.py'}:layer_norm"
    outcome = judged("compiled", target, "nc1:layer_norm/f32/64x64/calm/seed=48")
    assert outcome.status is Status.UNSUPPORTED
    assert outcome.reason == "torch.compile does not take numpy arrays"


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm", "l2_norm", "group_norm", "batch_norm"])
def test_standard_compiles_one_or_two_cases_and_quick_none(op: str) -> None:
    def looked(depth: int) -> int:
        target = "torch.nn.functional:" + {"l2_norm": "normalize"}.get(op, op)
        cases = corpus(catalogue.find(op), "float32", depth)
        small = [case for case in cases if case.elements <= 4096]
        return sum(looks_at(trial_of(target, case.id)) for case in small)

    assert looked(1) == 0
    assert 1 <= looked(2) <= 2
