"""normcheck.numerics.gate against Arb, and against honest and broken gates in float32."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from flint import arb, ctx
from torch import Tensor
from torch.nn import functional

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate import Gate, exponential

FLOAT32, FLOAT64 = FloatFormat.of(torch.float32), FloatFormat.of(torch.float64)
POINTS = torch.cat(
    [torch.linspace(-72, 72, 97, dtype=torch.float64), torch.tensor([-550.0, -1.2784645, 1e-300])]
)


@pytest.fixture(autouse=True)
def _many_bits() -> Iterator[None]:
    before, ctx.prec = ctx.prec, 400
    yield
    ctx.prec = before


def exactly(value: DoubleDouble, index: int) -> arb:
    return arb(value.hi[index].item()) + arb(value.lo[index].item())


def test_the_exponential_is_right_to_ninety_two_bits() -> None:
    x = -POINTS.abs()
    found = exponential(DoubleDouble.of(x))
    for index, point in enumerate(x.tolist()):
        exact = arb(point).exp()
        assert abs((exactly(found, index) - exact) / exact) < 2.0**-92


def sigma(z: arb) -> arb:
    return 1 / (1 + (-z).exp())


def test_gate_and_slope_are_right_to_ninety_bits() -> None:
    gate = Gate.of(POINTS, FLOAT64, wide=True, tiny=FLOAT64.smallest_subnormal)
    assert gate.wide_value is not None
    assert gate.wide_slope is not None
    for index, point in enumerate(POINTS.tolist()):
        z = arb(point)
        value = z * sigma(z)
        slope = sigma(z) * (1 + z * sigma(-z))
        assert abs(exactly(gate.wide_value, index) - value) <= abs(value) * 2.0**-90
        # The slope has a zero, beside which only the size of its terms is a scale.
        size = sigma(z) * (1 + abs(z) * sigma(-z))
        assert abs(exactly(gate.wide_slope, index) - slope) <= size * 2.0**-90


def numbers() -> Tensor:
    return 20.0 * torch.randn(1 << 16, generator=torch.Generator().manual_seed(3))


def by_power_of_two(z: Tensor) -> Tensor:
    return z / (1.0 + torch.exp2(z * -1.4426950408889634))


def by_tanh(z: Tensor) -> Tensor:
    return z * 0.5 * (1.0 + torch.tanh(0.5 * z))


HONEST: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "sigmoid": lambda z: z * torch.sigmoid(z),
    "quotient": lambda z: z / (1.0 + torch.exp(-z)),
    "power_of_two": by_power_of_two,
}
BROKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid_alone": torch.sigmoid,
    "gelu": functional.gelu,
    "hard_swish": functional.hardswish,
    "half_sigmoid": lambda z: z * torch.sigmoid(z).half().float(),
    "tanh_at_negative_z": by_tanh,
    "clamped_at_20": lambda z: z * torch.sigmoid(z.clamp(-20, 20)),
}


def worst(computed: Tensor, exact: Tensor, allowed: Tensor) -> float:
    return ((computed.double() - exact).abs() / allowed).max().item()


@pytest.mark.parametrize("name", HONEST)
def test_honest_gates_stay_within_the_budget(name: str) -> None:
    z = numbers()
    gate = Gate.of(z.double(), FLOAT32, wide=False, tiny=FLOAT32.smallest_subnormal)
    # Measured: at most 0.51, that of the power of two.
    assert 0.1 < worst(HONEST[name](z), gate.value, gate.value_error) <= 0.6


@pytest.mark.parametrize("name", ["silu", "sigmoid"])
def test_honest_slopes_stay_within_the_budget(name: str) -> None:
    z = numbers().requires_grad_()
    (slope,) = torch.autograd.grad(HONEST[name](z).sum(), z)
    gate = Gate.of(z.detach().double(), FLOAT32, wide=False, tiny=FLOAT32.smallest_subnormal)
    assert 0.05 < worst(slope, gate.slope, gate.slope_error) <= 0.6


@pytest.mark.parametrize("name", BROKEN)
def test_broken_gates_exceed_it(name: str) -> None:
    z = numbers()
    gate = Gate.of(z.double(), FLOAT32, wide=False, tiny=FLOAT32.smallest_subnormal)
    assert worst(BROKEN[name](z), gate.value, gate.value_error) > 100


def test_a_gate_may_vanish_only_where_its_exponential_leaves_the_format() -> None:
    edge = math.log(FLOAT32.largest / 8.0)
    z = torch.tensor([-edge * 1.001, -edge * 0.999], dtype=torch.float64)
    gate = Gate.of(z, FLOAT32, wide=False, tiny=FLOAT32.smallest_subnormal)
    vanishes = gate.value.abs() <= gate.value_error
    assert vanishes.tolist() == [True, False]
