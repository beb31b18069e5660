"""normcheck.numerics.judge: fused additions, fixed statistics, and inputs without elements."""

import pytest
import torch
from torch import Tensor

from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.judge import Comparisons, judge
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction

EPS = 1e-5
ROWS, N = 8, 256
NARROW = [torch.bfloat16, torch.float16]

dtypes = pytest.mark.parametrize("dtype", BY_NAME.values(), ids=BY_NAME)


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def explaining(found: Comparisons, tensor: str) -> set[str]:
    return {name for name, comparison in found[tensor].items() if comparison.violations == 0}


def wide(x: Tensor) -> Tensor:
    return x.to(FloatFormat.of(x.dtype).accumulation.dtype)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    # One cast: autograd would round the gradient of each to the input's format.
    value = wide(x)
    return value * (value.square().mean(1, keepdim=True) + EPS).rsqrt() * wide(weight)


def added(dtype: torch.dtype, *, rounded: bool) -> tuple[Problem, Observed]:
    """Pose x + residual and its norm, with gradients by autograd."""
    leaves = [noise(s, i, dtype) for i, s in enumerate([(ROWS, N), (ROWS, N), (1, N)])]
    x, residual, weight = (t.requires_grad_() for t in leaves)
    total = x + residual if rounded else wide(x) + wide(residual)
    y, out = rms(total, weight).to(dtype), total.to(dtype)
    dy = {"y": noise((ROWS, N), 4, dtype), "residual_out": noise((ROWS, N), 5, dtype)}
    gradients = torch.autograd.grad((y, out), (x, residual, weight), tuple(dy.values()))
    reduction = Reduction((ROWS, N), (1,), (1, N), centred=False)
    x, residual, weight = (t.detach() for t in (x, residual, weight))
    problem = Problem(
        reduction, Formula(EPS), x, FloatFormat.of(dtype), residual=residual, weight=weight
    )
    names = ("x", "residual", "weight")
    outputs = {"y": y.detach(), "residual_out": out.detach()}
    return problem, Observed(outputs, dy, dict(zip(names, gradients, strict=True)))


@dtypes
@pytest.mark.parametrize("rounded", [False, True], ids=["unrounded", "rounded"])
def test_either_reading_of_a_residual_sum_explains_its_own(
    dtype: torch.dtype, rounded: bool
) -> None:
    found = judge(*added(dtype, rounded=rounded))
    assert found["residual_out"]["fused"].violations == 0
    prefix = "rounded_sum+" if rounded else ""
    suffix = "+accumulated" if rounded and dtype in NARROW else ""
    assert f"{prefix}fused" in explaining(found, "y")
    assert f"{prefix}fused" in explaining(found, "grad_weight")
    for tensor in ("grad_x", "grad_residual"):
        assert f"{prefix}fused{suffix}" in explaining(found, tensor)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("rounded", [False, True], ids=["unrounded", "rounded"])
def test_in_half_precision_no_reading_is_taken_for_the_other(
    dtype: torch.dtype, rounded: bool
) -> None:
    found = judge(*added(dtype, rounded=rounded))
    for tensor in ("y", "grad_x", "grad_weight"):
        readings = {name.startswith("rounded_sum+") for name in explaining(found, tensor)}
        assert readings == {rounded}


@dtypes
def test_a_residual_that_was_not_added_is_found(dtype: torch.dtype) -> None:
    problem, observed = added(dtype, rounded=False)
    y = rms(problem.x, torch.ones(())).to(dtype)
    found = judge(problem, Observed({"y": y, "residual_out": problem.x}))
    assert not explaining(found, "y")
    assert not explaining(found, "residual_out")
    assert set(observed.gradients) == {"x", "residual", "weight"}


@dtypes
@pytest.mark.parametrize("shifted", [False, True], ids=["textbook", "scale-and-shift"])
def test_fixed_statistics_are_taken_as_given(dtype: torch.dtype, shifted: bool) -> None:
    x, dy = noise((4, 3, 5), 1, dtype) + 3.0, noise((4, 3, 5), 2, dtype)
    mean, weight, bias = (noise((1, 3, 1), seed, dtype) for seed in (3, 4, 5))
    variance = noise((1, 3, 1), 6, dtype).square() + 0.1
    root = (wide(variance) + EPS).rsqrt()
    scale = root * wide(weight)
    y = (wide(x) - wide(mean)) * root * wide(weight) + wide(bias)
    if shifted:
        y = wide(x) * scale + (wide(bias) - wide(mean) * scale)
    terms = wide(dy) * (wide(x) - wide(mean)) * root
    gradients = {"x": wide(dy) * scale, "weight": terms.sum((0, 2), keepdim=True)}
    gradients = {name: t.to(dtype) for name, t in gradients.items()}
    fmt = FloatFormat.of(dtype)
    problem = Problem(
        Reduction((4, 3, 5), (0, 2), (1, 3, 1), centred=True), Formula(EPS), x, fmt,
        weight=weight, bias=bias, fixed=(mean, variance),
    )  # fmt: skip
    found = judge(problem, Observed({"y": y.to(dtype)}, {"y": dy}, gradients))
    for tensor in ("y", "grad_x", "grad_weight"):
        assert "fused" in explaining(found, tensor)


def test_the_own_statistics_are_refused_where_fixed_ones_were_given() -> None:
    x = noise((4, 3, 5), 1)
    fixed = (torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
    reduction = Reduction((4, 3, 5), (0, 2), (1, 3, 1), centred=True)
    problem = Problem(reduction, Formula(EPS), x, FloatFormat.of(x.dtype), fixed=fixed)
    y = torch.nn.functional.batch_norm(x, None, None, training=True, eps=EPS)
    assert not explaining(judge(problem, Observed({"y": y})), "y")


@dtypes
@pytest.mark.parametrize("view", [(0, 4), (3, 0), (0, 0)], ids=str)
def test_inputs_without_elements_judge_parameter_gradients_only(
    dtype: torch.dtype, view: tuple[int, int]
) -> None:
    x, parameter = torch.zeros(view, dtype=dtype), torch.zeros(1, view[1], dtype=dtype)
    reduction = Reduction(view, (1,), (1, view[1]), centred=True)
    fmt = FloatFormat.of(dtype)
    problem = Problem(reduction, Formula(EPS), x, fmt, weight=parameter, bias=parameter)
    gradients = {"x": x, "weight": parameter, "bias": parameter}
    found = judge(problem, Observed({"y": x}, {"y": x}, gradients))
    assert found["y"]["fused"].judged == found["grad_x"]["fused"].judged == 0
    assert found["grad_bias"]["fused"].judged == view[1]
    assert found["grad_bias"]["fused"].violations == 0


@pytest.mark.parametrize(
    ("place", "judged"), [(EpsPlace.INSIDE, 16), (EpsPlace.OUTSIDE, 0)], ids=str
)
def test_the_gradient_of_a_constant_row_is_judged_only_where_it_exists(
    place: EpsPlace, judged: int
) -> None:
    x, dy = torch.ones(2, 8), noise((2, 8), 1)
    reduction = Reduction((2, 8), (1,), (), centred=True)
    problem = Problem(reduction, Formula(EPS, place), x, FloatFormat.of(x.dtype))
    dx = (dy - dy.mean(1, keepdim=True)) / EPS**0.5
    found = judge(problem, Observed({"y": torch.zeros(2, 8)}, {"y": dy}, {"x": dx}))
    assert (found["y"]["fused"].judged, found["y"]["fused"].violations) == (16, 0)
    assert (found["grad_x"]["fused"].judged, found["grad_x"]["fused"].violations) == (judged, 0)


def test_a_wider_output_is_rounded_to_its_own_format() -> None:
    x = noise((ROWS, N), 1, torch.bfloat16)
    reduction = Reduction((ROWS, N), (1,), (1, N), centred=False)
    problem = Problem(reduction, Formula(EPS), x, FloatFormat.of(torch.float32))
    y = rms(x, torch.ones(()))
    assert judge(problem, Observed({"y": y}))["y"]["fused"].violations == 0
    assert judge(problem, Observed({"y": y.bfloat16().float()}))["y"]["fused"].violations > N


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_squares_beyond_the_accumulation_format_are_not_judged(dtype: torch.dtype) -> None:
    largest = FloatFormat.of(dtype).accumulation.largest
    x = torch.full((1, 8), largest**0.5, dtype=dtype)
    reduction = Reduction((1, 8), (1,), (), centred=False)
    problem = Problem(reduction, Formula(EPS), x, FloatFormat.of(dtype))
    assert judge(problem, Observed({"y": torch.zeros_like(x)}))["y"]["fused"].judged == 0
