"""custom_op: what an op of torch.library does not say about itself is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from normcheck.properties.property import Status
from tests.properties.one_case import judged

HONEST = Path(__file__).parent.parent / "honest"
CASE = "nc1:rms_norm/f32/6x64/calm/seed=10"

# What torch's tracing says about itself is no business of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


def right(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], weight, eps)


def writes(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    y = right(x, weight, eps)
    weight.mul_(2.0)
    return y


def alike(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)


def swapped(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x.new_empty(x.shape[::-1])


def wider(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x, dtype=torch.float64)


def _saved(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.eps = inputs[2]


def _backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
    x, weight = ctx.saved_tensors
    root = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
    scaled, x_hat = g * weight, x * root
    dx = root * (scaled - x_hat * (scaled * x_hat).mean(-1, keepdim=True))
    return dx, (g * x_hat).sum(0), None


def registered(
    name: str,
    body: Callable[..., Tensor],
    fake: Callable[..., Tensor] | None,
    *,
    gradients: bool = True,
) -> Callable[..., Tensor]:
    op = torch.library.custom_op(f"normcheck_tests::{name}", body, mutates_args=())
    if fake is not None:
        op.register_fake(fake)
    if gradients:
        op.register_autograd(_backward, setup_context=_saved)

    def target(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        found: Tensor = op(x, weight, eps)
        return found

    return target


@pytest.mark.parametrize(
    ("name", "body", "fake", "text"),
    [
        ("swapped", right, swapped, "test_faketensor of torch.library.opcheck: "),
        ("wider", right, wider, "Dtypes torch.float32 and torch.float64 are not equal!"),
        ("writes", writes, alike, "Argument weight is not defined as mutable but was mutated"),
    ],
)
def test_a_wrong_registration_is_found(
    name: str, body: Callable[..., Tensor], fake: Callable[..., Tensor], text: str
) -> None:
    outcome = judged("custom_op", registered(name, body, fake), CASE)
    assert outcome.status is Status.VIOLATED, outcome
    assert outcome.finding is not None
    assert outcome.finding.tensor == f"normcheck_tests.{name}.default"
    assert text in outcome.finding.detail


def test_a_right_registration_holds() -> None:
    assert judged("custom_op", registered("right", right, alike), CASE).status is Status.HELD


def test_an_op_without_gradients_is_checked_without() -> None:
    target = registered("inference", right, alike, gradients=False)
    assert judged("custom_op", target, CASE).status is Status.HELD


def test_an_op_without_a_fake_kernel_is_not_judged() -> None:
    outcome = judged("custom_op", registered("unfaked", right, None), CASE)
    assert outcome.status is Status.UNSUPPORTED
    assert outcome.reason.startswith("normcheck_tests.unfaked.default: There was no fake impl")


def test_an_op_is_found_where_a_module_calls_it() -> None:
    op = registered("within", right, swapped)

    class Norm(torch.nn.Module):
        def __init__(self, hidden_size: int, eps: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(hidden_size))
            self.eps = eps

        def forward(self, x: Tensor) -> Tensor:
            return op(x, self.weight, self.eps)

    outcome = judged("custom_op", Norm, CASE)
    assert outcome.status is Status.VIOLATED
    assert outcome.finding is not None
    assert outcome.finding.tensor == "normcheck_tests.within.default"


@pytest.mark.parametrize(
    "target", [right, "torch.nn:RMSNorm", f"{HONEST / 'implementations.py'}:rms_norm_llama"]
)
def test_a_target_without_custom_ops_has_nothing_to_be_judged(
    target: str | Callable[..., object],
) -> None:
    outcome = judged("custom_op", target, CASE)
    assert (outcome.status, outcome.reason) == (Status.INAPPLICABLE, "it calls no custom op")
