"""Gradients of a wrong shape or number are an answer, which torch and JAX call an error."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import normcheck
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.watchdog import Watchdog
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.properties.failure_modes import catalogue as failure_modes
from normcheck.targets.target import adapt

CASE = Case.parse("nc1:rms_norm/f32/2x3x5/plain/dims=2")


def observed(target: Callable[..., object], framework: str = "torch") -> Observation:
    adapter = adapt(target, "m:rms_norm", catalogue.find("rms_norm"), Policy(), framework=framework)
    executor = InProcess(adapter, torch.device("cpu"), Policy(), Watchdog(60.0))
    return executor.backward(materialise(CASE))


class _Scaled(torch.autograd.Function):
    """x times weight; ``wrong`` maps the two right gradients to what comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, wrong: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.wrong = wrong
        return x * weight

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return ctx.wrong(dy * weight, (dy * x).sum(0))


def on_torch(wrong: Callable[[Tensor, Tensor], object]) -> Callable[..., object]:
    def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
        y: Tensor = _Scaled.apply(x, weight, wrong)  # type: ignore[no-untyped-call]
        return y

    return rms_norm


def on_jax(wrong: Callable[[Any, Any], object]) -> Callable[..., object]:
    jax = pytest.importorskip("jax")

    scaled = jax.custom_vjp(lambda x, weight: x * weight)
    scaled.defvjp(
        lambda x, weight: (x * weight, (x, weight)),
        lambda kept, dy: wrong(dy * kept[1], (dy * kept[0]).sum(0)),
    )

    def rms_norm(x: Any, weight: Any) -> Any:
        return scaled(x, weight)

    return rms_norm


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (on_torch(lambda dx, dw: (dx, dw.flatten(), None)), r"index 1 - got \[15\]"),
        (on_torch(lambda dx, dw: (dx, dw)), "incorrect number of gradients"),
        (on_torch(lambda dx, dw: (dx, dw, dw)), "a gradient different than None at position 3"),
    ],
    ids=["shape", "number", "of a constant"],
)  # fmt: skip
def test_torch_says_that_gradients_are_wrong(target: Callable[..., object], words: str) -> None:
    raised = observed(target).raised
    assert raised is not None
    assert raised.trouble is Trouble.UNEXPECTED
    assert re.search(words, raised.text)


def test_jax_says_that_gradients_are_wrong() -> None:
    raised = observed(on_jax(lambda dx, dw: (dx, dw.ravel())), "jax").raised
    assert raised is not None
    assert raised.trouble is Trouble.UNEXPECTED
    assert re.search(r"bwd rule must .* float32\[15\]", raised.text)


def test_right_gradients_are_no_trouble() -> None:
    assert observed(on_torch(lambda dx, dw: (dx, dw, None))).raised is None
    assert observed(on_jax(lambda dx, dw: (dx, dw)), "jax").raised is None


def test_another_error_of_a_backward_is_a_refusal() -> None:
    def refusing(dx: Tensor, dw: Tensor) -> object:
        raise NotImplementedError("the gradient at index 1 is not implemented")

    raised = observed(on_torch(refusing)).raised
    assert raised is not None
    assert raised.trouble is Trouble.REFUSED


def test_the_property_of_gradients_tells_them_by_itself() -> None:
    mode = failure_modes.find("layer_norm_flat_parameter_gradients")
    record = normcheck.run(
        mode.target, op=mode.op, dtypes=["float32"], profile="quick", properties=["gradients"],
        verdict_only=True,
    )  # fmt: skip
    told = [failure.message for failure in record.checks[0].failures]
    assert any("returned an invalid gradient at index 1" in message for message in told)
    assert record.unsupported == []
