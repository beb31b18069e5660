"""normcheck.numerics.rounding_policy: two conventions, and none is taken for the other."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import Comparisons, judge
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import Formula, Reduction
from normcheck.numerics.rounding import round_to

EPS = 1e-6
ROWS, N = 24, 512
CAST = "cast_then_scale"
STEPS = "cast_each_step"
NARROW = [torch.bfloat16, torch.float16]

dtypes = pytest.mark.parametrize("dtype", NARROW, ids=str)


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def root_mean_square(x: Tensor) -> Tensor:
    wide = x.float()
    return wide * (wide.square().mean(1, keepdim=True) + EPS).rsqrt()


def llama(x: Tensor, weight: Tensor) -> Tensor:
    """LlamaRMSNorm.forward of Transformers."""
    return weight * root_mean_square(x).to(x.dtype)


def fused(x: Tensor, weight: Tensor) -> Tensor:
    return (root_mean_square(x) * weight.float()).to(x.dtype)


def problem_of(x: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Problem:
    reduction = Reduction((ROWS, N), (1,), (1, N), centred=False)
    fmt = FloatFormat.of(x.dtype)
    return Problem(reduction, Formula(EPS), x, fmt, weight=weight, bias=bias)


def violations(found: Comparisons, tensor: str) -> dict[str, int]:
    return {policy: comparison.violations for policy, comparison in found[tensor].items()}


@dtypes
def test_llama_is_accepted_as_cast_then_scale_and_refused_as_fused(dtype: torch.dtype) -> None:
    x, weight = noise((ROWS, N), 1, dtype), noise((1, N), 2, dtype)
    found = judge(problem_of(x, weight), Observed({"y": llama(x, weight)}))
    counts = violations(found, "y")
    assert counts[CAST] == 0
    assert counts["fused"] > N


@dtypes
def test_one_rounding_is_accepted_as_fused_and_refused_as_cast_then_scale(
    dtype: torch.dtype,
) -> None:
    x, weight = noise((ROWS, N), 1, dtype), noise((1, N), 2, dtype)
    found = judge(problem_of(x, weight), Observed({"y": fused(x, weight)}))
    counts = violations(found, "y")
    assert counts["fused"] == 0
    assert counts[CAST] > N


@dtypes
def test_without_a_weight_there_is_only_one_place_to_round(dtype: torch.dtype) -> None:
    x = noise((ROWS, N), 1, dtype)
    y = root_mean_square(x).to(dtype)
    assert violations(judge(problem_of(x, None), Observed({"y": y})), "y") == {"fused": 0}


@dtypes
@pytest.mark.parametrize("stepwise", [False, True], ids=[CAST, STEPS])
def test_a_bias_tells_the_two_cast_policies_apart(dtype: torch.dtype, stepwise: bool) -> None:
    x, weight, bias = (noise(s, i, dtype) for i, s in enumerate([(ROWS, N), (1, N), (1, N)]))
    value = root_mean_square(x).to(dtype)
    if stepwise:
        y = value * weight + bias
    else:
        y = (value.float() * weight.float() + bias.float()).to(dtype)
    counts = violations(judge(problem_of(x, weight, bias), Observed({"y": y})), "y")
    mine, other = (STEPS, CAST) if stepwise else (CAST, STEPS)
    assert counts[mine] == 0
    assert counts[other] > N
    assert counts["fused"] > N


@dtypes
def test_a_declared_policy_is_the_only_one_tried(dtype: torch.dtype) -> None:
    x, weight = noise((ROWS, N), 1, dtype), noise((1, N), 2, dtype)
    plain = problem_of(x, weight)
    problem = Problem(plain.reduction, plain.formula, x, plain.output, weight=weight, rounding=CAST)
    found = judge(problem, Observed({"y": llama(x, weight)}))
    assert violations(found, "y") == {CAST: 0}


def test_float32_is_rounded_once_only() -> None:
    x, weight = noise((ROWS, N), 1, torch.float32), noise((1, N), 2, torch.float32)
    found = judge(problem_of(x, weight), Observed({"y": fused(x, weight)}))
    assert violations(found, "y") == {"fused": 0}


@dtypes
def test_float32_weights_give_the_promoted_product_of_the_cast_value(dtype: torch.dtype) -> None:
    x, weight = noise((ROWS, N), 1, dtype), noise((1, N), 2, torch.float32)
    y = llama(x, weight)
    assert y.dtype == torch.float32
    counts = violations(judge(problem_of(x, weight), Observed({"y": y})), "y")
    assert counts[CAST] == 0
    assert counts["fused"] > N


def differentiated(x: Tensor, weight: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """Return the gradients of Llama's form by autograd."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    dx, dweight = torch.autograd.grad(llama(x, weight), (x, weight), dy)
    return {"x": dx, "weight": dweight}


@dtypes
def test_autograd_of_llama_is_accepted_as_cast_then_scale(dtype: torch.dtype) -> None:
    x, weight, dy = (noise(s, i, dtype) for i, s in enumerate([(ROWS, N), (1, N), (ROWS, N)]))
    observed = Observed({}, {"y": dy}, differentiated(x, weight, dy))
    found = judge(problem_of(x, weight), observed)
    assert violations(found, "grad_x")[CAST] == 0
    assert violations(found, "grad_weight")[CAST] == 0


@dtypes
def test_a_fused_weight_gradient_is_accepted_as_fused(dtype: torch.dtype) -> None:
    x, weight, dy = (noise(s, i, dtype) for i, s in enumerate([(ROWS, N), (1, N), (ROWS, N)]))
    terms = dy.float() * root_mean_square(x)
    observed = Observed({}, {"y": dy}, {"weight": terms.sum(0, keepdim=True).to(dtype)})
    assert violations(judge(problem_of(x, weight), observed), "grad_weight")["fused"] == 0


@dtypes
def test_terms_cast_before_the_sum_are_refused_as_fused(dtype: torch.dtype) -> None:
    # A float32 gradient shows what a half-precision one would round away.
    x, weight, dy = (noise(s, i, dtype) for i, s in enumerate([(ROWS, N), (1, N), (ROWS, N)]))
    terms = dy.float() * root_mean_square(x).to(dtype).float()
    observed = Observed({}, {"y": dy}, {"weight": terms.sum(0, keepdim=True)})
    counts = violations(judge(problem_of(x, weight), observed), "grad_weight")
    assert counts["cast_normalised"] == 0
    assert counts["fused"] > N // 2


@pytest.mark.parametrize(
    ("dtype", "weighted"),
    [(torch.float32, True), (torch.float64, True), (torch.bfloat16, False)],
    ids=["float32", "float64", "bfloat16-without-weight"],
)
@pytest.mark.parametrize("policy", [CAST, STEPS])
def test_a_declared_policy_judges_outputs_that_nothing_rounds_on_the_way(
    dtype: torch.dtype, weighted: bool, policy: str
) -> None:
    x = noise((ROWS, N), 1, dtype)
    weight = noise((1, N), 2, dtype) if weighted else None
    problem = replace(problem_of(x, weight), rounding=policy)
    value = x.double() * (x.double().square().mean(1, keepdim=True) + EPS).rsqrt()
    y = (value * (1.0 if weight is None else weight.double())).to(dtype)
    found = judge(problem, Observed({"y": y}))
    assert found["y"]["fused"].judged == ROWS * N
    assert violations(found, "y") == {"fused": 0}
    wrong = judge(problem, Observed({"y": y * 1.125}))
    assert violations(wrong, "y")["fused"] > ROWS * N // 2


def next_to_ties(value: Tensor) -> Tensor:
    """Float32 weights whose products with half-precision values lie next to ties of the latter."""
    below = (1.375 * value.float()).to(value.dtype)
    above = torch.nextafter(below, torch.full_like(below, torch.inf))
    return ((below.double() + above.double()) / (2 * value.double())).float()


@dtypes
def test_products_with_float32_weights_may_round_twice(dtype: torch.dtype) -> None:
    x = noise((ROWS, N), 1, dtype)
    value = root_mean_square(x).to(dtype)
    weight = next_to_ties(value[:1])
    twice = (value.float() * weight).to(dtype)
    once = round_to(value.double() * weight.double(), FloatFormat.of(dtype)).to(dtype)
    assert int((once != twice).sum()) > 100
    for y in (once, twice):
        assert violations(judge(problem_of(x, weight), Observed({"y": y})), "y")[CAST] == 0
