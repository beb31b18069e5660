"""normcheck.numerics.budget: each classical mistake exceeds it, on the inputs where it shows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import Formula, Reduction

EPS = 1e-5
N = 1000

Normalise = Callable[[Tensor], Tensor]


def noise(rows: int, n: int, seed: int) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))


def problem_of(x: Tensor, **parameters: Tensor) -> Problem:
    view = (x.shape[0], x.shape[1])
    reduction = Reduction(view, (1,), (1, view[1]), centred=True)
    output = FloatFormat.of(x.dtype)
    weight, bias = parameters.get("weight"), parameters.get("bias")
    return Problem(reduction, Formula(EPS), x, output, weight=weight, bias=bias)


def verdict_on_y(y: Tensor, x: Tensor) -> Comparison:
    return judge(problem_of(x), Observed({"y": y}))["y"]["fused"]


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    c = x - x.mean(1, keepdim=True)
    return c, c.square().mean(1, keepdim=True)


def honest(x: Tensor) -> Tensor:
    c, variance = centred(x.float())
    return (c * (variance + EPS).rsqrt()).to(x.dtype)


def one_pass(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x.square().mean(1, keepdim=True) - mean.square()).clamp_min(0.0)
    return (x - mean) * (variance + EPS).rsqrt()


def divisor_n_minus_one(x: Tensor) -> Tensor:
    c, variance = centred(x)
    return c * (variance * (N / (N - 1)) + EPS).rsqrt()


def eps_outside(x: Tensor) -> Tensor:
    c, variance = centred(x)
    return c / (variance.sqrt() + EPS)


def without_eps(x: Tensor) -> Tensor:
    c, variance = centred(x)
    return c * variance.rsqrt()


def without_the_mean(x: Tensor) -> Tensor:
    _, variance = centred(x)
    return x * (variance + EPS).rsqrt()


def root_in_bfloat16(x: Tensor) -> Tensor:
    c, variance = centred(x.float())
    root = (variance + EPS).rsqrt().to(torch.bfloat16)
    return (c * root.float()).to(torch.bfloat16)


def mean_in_bfloat16(x: Tensor) -> Tensor:
    _, variance = centred(x.float())
    mean = x.float().mean(1, keepdim=True).to(torch.bfloat16)
    return ((x.float() - mean.float()) * (variance + EPS).rsqrt()).to(torch.bfloat16)


def statistics_in_bfloat16(x: Tensor) -> Tensor:
    c, variance = centred(x)
    return c * (variance + EPS).rsqrt()


@pytest.mark.parametrize(
    ("wrong", "x"),
    [
        pytest.param(one_pass, noise(4, N, 1) + 100.0, id="one-pass-at-100"),
        pytest.param(one_pass, noise(4, N, 1) + 1e3, id="one-pass-at-1000"),
        pytest.param(one_pass, 1.0 + 1e-3 * noise(4, N, 1), id="one-pass-on-tiny-variance"),
        pytest.param(divisor_n_minus_one, noise(4, N, 1), id="n-minus-one"),
        pytest.param(divisor_n_minus_one, noise(4, N, 1) + 10.0, id="n-minus-one-at-10"),
        pytest.param(eps_outside, noise(4, N, 1), id="eps-outside"),
        pytest.param(eps_outside, 1e-4 * noise(4, N, 1), id="eps-outside-on-small"),
        pytest.param(without_eps, 1e-2 * noise(4, N, 1), id="no-eps-on-tiny-variance"),
        pytest.param(without_eps, noise(4, N, 1), id="no-eps"),
        pytest.param(without_the_mean, noise(4, N, 1), id="not-centred"),
    ],
)
def test_a_mistake_in_float32_exceeds_the_budget(wrong: Normalise, x: Tensor) -> None:
    found = verdict_on_y(wrong(x), x)
    assert found.judged == x.numel()
    assert found.violations > 0
    assert found.ratio > 1.0
    assert verdict_on_y(honest(x), x).ratio <= 1.0


@pytest.mark.parametrize(
    ("wrong", "x"),
    [
        pytest.param(root_in_bfloat16, noise(4, N, 2), id="root"),
        pytest.param(mean_in_bfloat16, noise(4, N, 2) + 3.0, id="mean"),
        pytest.param(statistics_in_bfloat16, noise(4, N, 2), id="statistics"),
        pytest.param(statistics_in_bfloat16, noise(4, N, 2) + 10.0, id="statistics-at-10"),
    ],
)
def test_half_precision_inside_exceeds_the_budget(wrong: Normalise, x: Tensor) -> None:
    x = x.bfloat16()
    assert verdict_on_y(wrong(x), x).ratio > 1.0
    assert verdict_on_y(honest(x), x).ratio <= 1.0


@pytest.mark.parametrize("seed", range(5), ids=str)
def test_one_wrong_element_is_found_and_placed(seed: int) -> None:
    x = noise(16, N, seed)
    y = honest(x)
    row, column = 3 * seed, 7 * seed + 1
    y[row, column] *= 1.0 + 2.0**-10
    found = verdict_on_y(y, x)
    assert found.violations == 1
    assert found.worst is not None
    assert found.worst.index == (row, column)
    assert found.worst.computed == y[row, column].item()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf")], ids=["nan", "inf", "minus-inf"]
)
def test_one_element_that_is_not_finite_is_a_violation(value: float) -> None:
    x = noise(4, N, 3)
    y = honest(x)
    y[2, 5] = value
    assert verdict_on_y(y, x).violations == 1


def test_rows_whose_input_is_not_finite_are_not_judged_but_laundering_is_counted() -> None:
    x = noise(4, 8, 4)
    x[1, 2], x[3, 0] = float("nan"), float("inf")
    y = honest(x)
    assert y[1].isnan().all()
    y[3] = 0.0
    found = verdict_on_y(y, x)
    assert (found.judged, found.violations, found.laundered) == (16, 0, 1)


def test_a_constant_row_far_from_zero_has_no_power() -> None:
    x = torch.full((2, N), 1e5)
    assert verdict_on_y(torch.full_like(x, 3.0), x).judged == 0


def gradients(
    x: Tensor, dy: Tensor, weight: Tensor, *, mean: bool = True, projection: bool = True
) -> Tensor:
    c, variance = centred(x)
    root = (variance + EPS).rsqrt()
    x_hat, g = c * root, dy * weight
    inner = g
    if mean:
        inner = inner - g.mean(1, keepdim=True)
    if projection:
        inner = inner - x_hat * (g * x_hat).mean(1, keepdim=True)
    return inner * root


def verdicts(x: Tensor, dy: Tensor, found: dict[str, Tensor]) -> dict[str, Comparison]:
    n = x.shape[1]
    problem = problem_of(x, weight=noise(1, n, 8).to(x.dtype), bias=noise(1, n, 9).to(x.dtype))
    policies = judge(problem, Observed({}, {"y": dy}, found))
    return {tensor: comparisons["fused"] for tensor, comparisons in policies.items()}


@pytest.mark.parametrize(
    ("mean", "projection"), [(False, True), (True, False), (False, False)], ids=str
)
def test_a_missing_term_of_the_input_gradient_exceeds_the_budget(
    mean: bool, projection: bool
) -> None:
    x, dy, weight = noise(4, N, 5), noise(4, N, 6), noise(1, N, 8)
    wrong = gradients(x, dy, weight, mean=mean, projection=projection)
    assert verdicts(x, dy, {"x": wrong})["grad_x"].violations > N
    assert verdicts(x, dy, {"x": gradients(x, dy, weight)})["grad_x"].ratio <= 1.0


def serial_sum_in_bfloat16(terms: Tensor) -> Tensor:
    total = torch.zeros(1, terms.shape[1], dtype=torch.bfloat16)
    for row in torch.split(terms.bfloat16(), 1):
        total = total + row
    return total


def test_ones_added_in_bfloat16_stop_at_256_and_exceed_the_budget() -> None:
    x, dy = noise(4096, 3, 7).bfloat16(), torch.ones(4096, 3, dtype=torch.bfloat16)
    wrong = serial_sum_in_bfloat16(dy)
    assert wrong.eq(256).all()
    assert verdicts(x, dy, {"bias": wrong})["grad_bias"].violations == 3
    right = dy.float().sum(0, keepdim=True).bfloat16()
    assert verdicts(x, dy, {"bias": right})["grad_bias"].ratio <= 1.0


def test_a_weight_gradient_added_in_bfloat16_exceeds_every_policy() -> None:
    x, dy = noise(4096, 3, 7).bfloat16(), noise(4096, 3, 6).bfloat16()
    terms = dy.float() * honest(x.float())
    problem = problem_of(x, weight=torch.ones(1, 3, dtype=torch.bfloat16))
    for computed, accepted in (
        (serial_sum_in_bfloat16(terms), False),
        (terms.sum(0, keepdim=True).bfloat16(), True),
    ):
        policies = judge(problem, Observed({}, {"y": dy}, {"weight": computed}))["grad_weight"]
        assert (min(found.violations for found in policies.values()) == 0) == accepted


def test_rows_left_out_of_a_parameter_gradient_exceed_the_budget() -> None:
    x, dy = noise(65, 3, 7), noise(65, 3, 6)
    terms = dy * honest(x)
    computed = {"weight": terms[:64].sum(0, keepdim=True), "bias": dy[:64].sum(0, keepdim=True)}
    found = verdicts(x, dy, computed)
    assert found["grad_weight"].violations == found["grad_bias"].violations == 3
