"""second_derivatives and forward_mode: wrong rules are found, right ones and refusals are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from normcheck.properties.property import Status
from tests.properties.one_case import judged

HONEST = Path(__file__).parent.parent / "honest"
IMPLEMENTATIONS, CHANNELS = f"{HONEST / 'implementations.py'}:", f"{HONEST / 'channels.py'}:"
CASE = "nc1:layer_norm/{}/14x96/calm/seed=25"
BARE = "nc1:layer_norm/{}/9x64/calm/weight=none/bias=none/seed=9"
Affine = Tensor | None
Context = Any  # torch's contexts have no attributes of their own


def affine(value: Tensor, weight: Affine, bias: Affine) -> Tensor:
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


class Saved(torch.autograd.Function):
    """x^ and r are saved for the backward pass; `again` decides what it makes of them."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        root = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, centred * root, root)
        ctx.eps = eps
        return centred * root

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, _ = ctx.saved_tensors
        centred = x - x.mean(-1, keepdim=True)
        root = torch.rsqrt(centred.square().mean(-1, keepdim=True) + ctx.eps)
        return projected(g, centred * root, root), None


def projected(g: Tensor, x_hat: Tensor, root: Tensor) -> Tensor:
    mean = g.mean(-1, keepdim=True)
    return root * (g - mean - x_hat * (g * x_hat).mean(-1, keepdim=True))


def through(kind: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    def layer_norm(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
        value: Tensor = kind.apply(x, eps)  # type: ignore[no-untyped-call]
        return affine(value, weight, bias)

    return layer_norm


class Constant(Saved):
    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        return projected(g, *ctx.saved_tensors[1:]), None


class ConstantRoot(Saved):
    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, root = ctx.saved_tensors
        return projected(g, (x - x.mean(-1, keepdim=True)) * root, root), None


class Once(Saved):
    @staticmethod
    @once_differentiable
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        return projected(g, *ctx.saved_tensors[1:]), None


class Detached(Saved):
    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        # A kernel of its own: what it writes has no history.
        return projected(g, *ctx.saved_tensors[1:]).detach(), None


class _Negated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, g: Tensor) -> Tensor:
        return g.clone()

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> Tensor:
        return -g


class WrongSign(Saved):
    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        return _Negated.apply(Saved.backward(ctx, g)[0]), None  # type: ignore[no-untyped-call]


def wrong_without_weight(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return through(Constant if weight is None else Saved)(x, weight, bias, eps)


class Weighted(torch.autograd.Function):
    """Right for x; the weight's gradient takes the normalised value for a constant."""

    @staticmethod
    def forward(ctx: Context, x_hat: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x_hat, weight)
        return x_hat * weight

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor, Tensor]:
        x_hat, weight = ctx.saved_tensors
        return g * weight, (g * x_hat.detach()).sum(tuple(range(g.dim() - 1)))


def constant_in_weight_gradient(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    value = through(Saved)(x, None, None, eps)
    if weight is not None:
        value = Weighted.apply(value, weight)  # type: ignore[no-untyped-call]
    return value if bias is None else value + bias


class Moved(torch.autograd.Function):
    """Forward mode by a rule of its own."""

    @staticmethod
    def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        centred = x - x.mean(-1, keepdim=True)
        root = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
        return centred * root, root

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Context, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return projected(g, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Context, v: Tensor, _: None) -> tuple[Tensor, None]:
        return projected(v, *ctx.saved_tensors), None


class WithoutProjection(Moved):
    @staticmethod
    def jvp(ctx: Context, v: Tensor, _: None) -> tuple[Tensor, None]:
        _, root = ctx.saved_tensors
        return root * (v - v.mean(-1, keepdim=True)), None


class WithoutMean(Moved):
    @staticmethod
    def jvp(ctx: Context, v: Tensor, _: None) -> tuple[Tensor, None]:
        x_hat, root = ctx.saved_tensors
        return root * (v - x_hat * (v * x_hat).mean(-1, keepdim=True)), None


class Backwards(Moved):
    @staticmethod
    def jvp(ctx: Context, v: Tensor, _: None) -> tuple[Tensor, None]:
        x_hat, root = ctx.saved_tensors
        return -projected(v, x_hat, root), None


def moved(kind: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    def layer_norm(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
        value: Tensor = kind.apply(x, eps)[0]  # type: ignore[no-untyped-call]
        return affine(value, weight, bias)

    return layer_norm


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("target", "tensor", "case"),
    [
        (through(Constant), "grad2_x", CASE),
        (through(ConstantRoot), "grad2_x", CASE),
        (through(WrongSign), "grad2_", CASE),
        (wrong_without_weight, "grad2_x", BARE),
        (constant_in_weight_gradient, "grad2_x", CASE),
    ],
    ids=["constant", "constant_root", "sign", "weight_none", "weight_gradient"],
)
def test_a_wrong_double_backward_is_far_outside(
    target: Callable[..., Tensor], tensor: str, case: str, dtype: str
) -> None:
    outcome = judged("second_derivatives", target, case.format(dtype))
    assert outcome.status is Status.VIOLATED
    assert outcome.finding is not None
    assert outcome.finding.tensor.startswith(tensor)
    assert outcome.finding.detail == "when gradients are differentiated again"
    assert outcome.ratio > 100.0


def test_wrong_without_weight_is_right_with_it() -> None:
    outcome = judged("second_derivatives", wrong_without_weight, CASE.format("f32"))
    assert outcome.status is Status.HELD, outcome


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Once, "twice"), (Detached, "the gradient of x carries no graph")],
)
def test_a_refusal_to_differentiate_again_is_no_fault(
    kind: type[torch.autograd.Function], reason: str
) -> None:
    outcome = judged("second_derivatives", through(kind), CASE.format("f32"))
    assert outcome.status is Status.UNSUPPORTED
    assert reason in outcome.reason


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", [WithoutProjection, WithoutMean, Backwards])
def test_a_wrong_forward_mode_is_far_outside(
    kind: type[torch.autograd.Function], dtype: str
) -> None:
    outcome = judged("forward_mode", moved(kind), CASE.format(dtype))
    assert outcome.status is Status.VIOLATED
    assert outcome.finding is not None
    assert (outcome.finding.tensor, outcome.finding.detail) == ("tangent_y", "with dual numbers")
    assert outcome.ratio > 100.0


def test_a_right_rule_for_forward_mode_holds() -> None:
    assert judged("forward_mode", moved(Moved), CASE.format("f32")).status is Status.HELD


def test_no_rule_for_forward_mode_is_no_fault() -> None:
    outcome = judged("forward_mode", f"{IMPLEMENTATIONS}layer_norm_welford", CASE.format("f32"))
    assert outcome.status is Status.UNSUPPORTED
    assert "must implement the jvp function" in outcome.reason


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("target", "case"),
    [
        (f"{IMPLEMENTATIONS}layer_norm_two_pass", CASE),
        (f"{IMPLEMENTATIONS}layer_norm_into", CASE),
        (f"{IMPLEMENTATIONS}rms_norm_llama", "nc1:rms_norm/{}/6x64/calm/seed=10"),
        (f"{IMPLEMENTATIONS}l2_norm_two_pass", "nc1:l2_norm/{}/6x64/calm/seed=10"),
        (f"{IMPLEMENTATIONS}add_rms_norm_unrounded", "nc1:add_rms_norm/{}/6x64/calm/seed=10"),
        (f"{IMPLEMENTATIONS}add_layer_norm_rounded", "nc1:add_layer_norm/{}/6x64/calm/seed=10"),
        (f"{CHANNELS}group_norm_two_pass", "nc1:group_norm/{}/4x6x9/calm/groups=2/seed=10"),
        (f"{CHANNELS}batch_norm_two_pass", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
        (f"{CHANNELS}batch_norm_two_pass", "nc1:batch_norm/{}/4x6x9/calm/mode=eval/seed=10"),
        (f"{CHANNELS}instance_norm_two_pass", "nc1:instance_norm/{}/4x6x9/calm/seed=10"),
        ("torch.nn.functional:layer_norm", CASE),
        ("torch.nn.functional:layer_norm", BARE),
        ("torch.nn.functional:rms_norm", "nc1:rms_norm/{}/4x9x33/calm/seed=30"),
        ("torch.nn.functional:batch_norm", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
        ("torch.nn.functional:group_norm", "nc1:group_norm/{}/4x6x9/calm/groups=2/seed=10"),
        ("torch.nn:LayerNorm", CASE),
        ("torch.nn:BatchNorm1d", "nc1:batch_norm/{}/4x6x9/calm/seed=10"),
    ],
)
def test_honest_implementations_stay_within_half_of_the_budget(
    target: str, case: str, dtype: str
) -> None:
    for name in ("second_derivatives", "forward_mode"):
        outcome = judged(name, target, case.format(dtype))
        assert outcome.status is Status.HELD, outcome
        assert 0.0 < outcome.ratio <= 0.5


@pytest.mark.parametrize("name", ["second_derivatives", "forward_mode", "vmap"])
@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("nc1:layer_norm/bf16/6x64/calm/seed=10", Status.INAPPLICABLE),
        ("nc1:layer_norm/f32/6x6400/calm/seed=10", Status.INAPPLICABLE),
        ("nc1:layer_norm/f32/6x64/calm/seed=10", Status.UNSUPPORTED),
    ],
)
def test_numpy_is_not_differentiated_by_torch(name: str, case: str, status: Status) -> None:
    target = f"{HONEST / 'third_party' / 'numpy_norms.py'}:layer_norm"
    assert judged(name, target, case).status is status


def test_eps_outside_the_root_is_left_to_others() -> None:
    outcome = judged(
        "second_derivatives", f"{IMPLEMENTATIONS}layer_norm_two_pass", CASE.format("f32"),
        eps="outside",
    )  # fmt: skip
    assert outcome.reason == "not derived for this op and policy"
