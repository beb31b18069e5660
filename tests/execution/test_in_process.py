"""normcheck.execution.in_process: everything that a target did is written down."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.execution.in_process import InProcess, same_bits
from normcheck.execution.observation import Observation, Raised, Trouble
from normcheck.execution.watchdog import Watchdog
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.target import adapt

CASE = Case("rms_norm", "float32", (4, 8))
rms_norm = torch.nn.functional.rms_norm


def observed(
    target: Callable[..., object], case: Case = CASE, *, gradients: bool = False, limit: float = 60
) -> Observation:
    op = catalogue.find(case.op)
    adapter = adapt(target, f"m:{case.op}", op, Policy(), fixed={"eps": 1e-6})
    executor = InProcess(adapter, torch.device("cpu"), Policy(), Watchdog(limit))
    inputs = materialise(case)
    return executor.backward(inputs) if gradients else executor.forward(inputs)


def test_a_forward_call_leaves_outputs_without_a_graph() -> None:
    seen = observed(lambda x, weight: x * weight)
    inputs = materialise(CASE).tensors
    assert torch.equal(seen.outputs["y"], inputs["x"] * inputs["weight"])
    assert not seen.outputs["y"].requires_grad
    assert (seen.gradients, seen.state, seen.mutated, seen.raised) == ({}, {}, (), None)
    assert seen.devices == {"y": "cpu"}
    assert seen.elapsed_s > 0


def test_a_backward_call_leaves_the_gradients_of_dy() -> None:
    seen = observed(lambda x, weight: x * weight, gradients=True)
    inputs = materialise(CASE)
    dy, x, weight = inputs.dy["y"], inputs.tensors["x"], inputs.tensors["weight"]
    assert torch.equal(seen.gradients["x"], dy * weight)
    # Sums of four products in any order: 3 additions of relative error 2**-24.
    size = (dy * x).abs().sum(0)
    error = (seen.gradients["weight"] - (dy * x).sum(0)).abs()
    assert (error <= 8 * 2.0**-24 * size).all()


def test_state_is_what_the_buffers_hold_after_the_call() -> None:
    def norm(x: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
        running_mean.fill_(2.0)
        return x + running_var.sum()

    case = Case("batch_norm", "float32", (4, 6), weight="none", bias="none")
    seen = observed(norm, case)
    assert seen.state["running_mean"].tolist() == [2.0] * 6
    assert torch.equal(seen.state["running_var"], materialise(case).tensors["running_var"])
    assert seen.mutated == ()
    evaluated = Case("batch_norm", "float32", (4, 6), weight="none", bias="none", mode="eval")
    assert observed(norm, evaluated).mutated == ("running_mean",)


def flip_zero(x: Tensor, weight: Tensor) -> Tensor:
    return x.neg_()


def write_nan_twice(x: Tensor, weight: Tensor) -> Tensor:
    x[x.isnan()] = float("nan")
    return x.clone()


def nudge_the_last_bit(x: Tensor, weight: Tensor) -> Tensor:
    weight.view(torch.int32)[3] ^= 1
    return x


@pytest.mark.parametrize(
    ("target", "regime", "mutated"),
    [
        (flip_zero, "zeros", ("x",)),
        (write_nan_twice, "nan", ()),
        (nudge_the_last_bit, "plain", ("weight",)),
        (lambda x, weight: x.mul_(1.0), "plain", ()),
        (lambda x, weight: x.add_(weight), "nan", ("x",)),
    ],
    ids=["sign-of-zero", "nan-onto-nan", "one-bit", "same-value", "beside-a-nan"],
)
def test_arguments_are_compared_bit_for_bit(
    target: Callable[..., object], regime: str, mutated: tuple[str, ...]
) -> None:
    assert observed(target, Case("rms_norm", "float32", (4, 8), regime)).mutated == mutated


def test_a_gradient_fed_back_that_was_overwritten_is_named() -> None:
    class Greedy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0].mul_(2.0)

    def greedy(x: Tensor) -> object:
        return Greedy.apply(x)  # type: ignore[no-untyped-call]

    seen = observed(greedy, Case("l2_norm", "float32", (4, 8)), gradients=True)
    assert seen.mutated == ("dy",)


@pytest.mark.parametrize(
    ("op", "shape", "layout"),
    [("rms_norm", (4, 7), "strided"), ("batch_norm", (2, 6, 3, 5), "channels_last")],
)
def test_targets_get_the_strides_of_the_case_and_garbage_between(
    op: str, shape: tuple[int, ...], layout: str
) -> None:
    case = Case(op, "float32", shape, layout=layout)
    found: dict[str, object] = {}

    def spy(x: Tensor) -> Tensor:
        found["strides"] = x.stride()
        found["between"] = x.as_strided((x.stride(0) - 1,), (1,)).isnan().any().item()
        return x.clone()

    seen = observed(spy, case)
    assert found["strides"] == materialise(case).tensors["x"].stride()
    assert found["between"] is (layout == "strided")
    assert torch.equal(seen.outputs["y"], materialise(case).tensors["x"])


def loop(x: Tensor) -> Tensor:
    while True:
        pass


def stubborn(x: Tensor) -> Tensor:
    while True:
        try:
            time.sleep(10)
        except Exception:
            continue


def leave(x: Tensor) -> Tensor:
    raise SystemExit(3)


def refuse(x: Tensor) -> Tensor:
    raise NotImplementedError("only multiples of 16\nsee the manual")


def silent(x: Tensor) -> Tensor:
    raise RuntimeError


TROUBLES = [
    (refuse, Raised(Trouble.REFUSED, "NotImplementedError: only multiples of 16")),
    (silent, Raised(Trouble.REFUSED, "RuntimeError")),
    (leave, Raised(Trouble.EXITED, "ended the process with SystemExit: 3")),
    (loop, Raised(Trouble.HUNG, "did not return within 0.2 s")),
    (stubborn, Raised(Trouble.HUNG, "did not return within 0.2 s")),
]
RETURNS = "m:l2_norm returned {}, but l2_norm returns one tensor"


@pytest.mark.parametrize(("target", "raised"), TROUBLES, ids=[t[0].__name__ for t in TROUBLES])
def test_refusals_exits_and_hangs_are_told_apart(
    target: Callable[..., object], raised: Raised
) -> None:
    seen = observed(target, Case("l2_norm", "float32", (4, 8)), limit=0.2)
    assert seen.raised == raised
    assert seen.outputs == {}
    assert seen.elapsed_s < 2.0


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (lambda x: None, "nothing"),
        (lambda x: x.tolist()[0][:2], "a list (a float, a float)"),
        (lambda x: (x, x.sum()), "a tuple (a Tensor, a Tensor)"),
        (lambda x: [x], "a list (a Tensor)"),
        (lambda x: (x, None, [x]), "a tuple (a Tensor, nothing, a list (a Tensor))"),
        (lambda x: 3.0, "a float"),
    ],
    ids=["none", "floats", "pair", "list", "nested", "number"],
)
def test_an_unexpected_return_is_described(target: Callable[..., object], what: str) -> None:
    seen = observed(target, Case("l2_norm", "float32", (4, 8)))
    assert seen.raised == Raised(Trouble.UNEXPECTED, RETURNS.format(what))


def test_an_op_with_two_outputs_wants_both() -> None:
    case = Case("add_rms_norm", "float32", (4, 8), weight="none")
    seen = observed(lambda x, residual: x + residual, case)
    assert seen.raised == Raised(
        Trouble.UNEXPECTED,
        "m:add_rms_norm returned a Tensor, but add_rms_norm returns the tensors (y, residual_out)",
    )


def test_outputs_without_a_graph_are_kept_beside_the_missing_gradient() -> None:
    seen = observed(lambda x: x.detach() * 2, Case("l2_norm", "float32", (4, 8)), gradients=True)
    assert seen.raised is not None
    assert seen.raised.trouble is Trouble.NO_GRADIENT
    assert seen.raised.text == "its outputs are not attached to the autograd graph"
    assert torch.equal(
        seen.outputs["y"], materialise(Case("l2_norm", "float32", (4, 8))).tensors["x"] * 2
    )


def test_an_interruption_by_the_user_passes_through() -> None:
    def interrupted(x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observed(interrupted, Case("l2_norm", "float32", (4, 8)))


BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@settings(deadline=None)
@given(
    size=st.sampled_from([2, 4, 8]),
    first=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=4),
    place=st.integers(0, 3),
    bit=st.integers(0, 14) | st.none(),
)
def test_same_bits_is_equality_of_integers(
    size: int, first: list[int], place: int, bit: int | None
) -> None:
    integers = torch.tensor(first, dtype=BITS[size])
    other = integers.clone()
    if bit is not None:
        other[place % len(first)] ^= 1 << bit
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[size]
    assert same_bits(integers.view(dtype), other.view(dtype)) is (bit is None)


def test_same_bits_tells_shapes_and_formats_apart_but_not_strides() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert same_bits(x, x.t().contiguous().t())
    assert not same_bits(x, x.reshape(3, 2))
    assert not same_bits(x, x.double())
    assert not same_bits(torch.zeros(1), -torch.zeros(1))
    assert same_bits(torch.full((2,), float("nan")), torch.full((2,), float("nan")))
