"""normcheck.numerics.budget: honest code stays inside, and so does every corner.

The implementations are written here, in plain torch, with the sums that real kernels use. The
corners evaluate the formulas in float64 with statistics that are off by all they may be.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from normcheck.numerics.budget import backward_budget, forward_budget, sum_budget
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction
from normcheck.numerics.reference import differentiate, normalise

FLOAT32 = FloatFormat.of(torch.float32)
EPS = 1e-5
LENGTHS = (1, 2, 3, 7, 64, 1000, 4096)
ROWS = 4

Moments = tuple[Tensor, Tensor]
Results = tuple[Tensor, Tensor, Tensor, Tensor]  # y, dx, dweight, dbias


def noise(rows: int, n: int, seed: int) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))


def with_outlier(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 1e4
    return x


REGIMES: dict[str, Callable[[Tensor], Tensor]] = {
    "random": lambda x: x,
    "offset_10": lambda x: x + 10.0,
    "offset_1e3": lambda x: x + 1e3,
    "offset_1e5": lambda x: x + 1e5,
    "tiny_variance": lambda x: 1.0 + 1e-3 * x,
    "outlier": with_outlier,
    "constant": lambda x: torch.full_like(x, 0.1),
    "constant_but_one": lambda x: with_outlier(torch.full_like(x, 1e4 / 3)),
    "alternating": lambda x: 1e3 + torch.arange(x.shape[1]).to(x).remainder(2).expand_as(x),
    "small": lambda x: 1e-4 * x,
    "large": lambda x: 1e4 * x,
}


def two_pass(x: Tensor) -> Moments:
    mean = x.mean(1, keepdim=True)
    return mean, (x - mean).square().mean(1, keepdim=True)


def welford_in_lanes(x: Tensor) -> Moments:
    """Update 32 lanes serially, then merge them as a tree (Chan, Golub, LeVeque)."""
    count = x.new_zeros(32)
    mean, squares = x.new_zeros(2, x.shape[0], 32)
    for chunk in torch.split(x, 32, dim=1):
        lanes = slice(0, chunk.shape[1])
        count[lanes] += 1
        delta = chunk - mean[:, lanes]
        mean[:, lanes] += delta / count[lanes]
        squares[:, lanes] += delta * (chunk - mean[:, lanes])
    while (half := len(count) // 2) >= 1:
        total = count[:half] + count[half:]
        share = count[half:] / total.clamp_min(1)
        delta = mean[:, half:] - mean[:, :half]
        squares = squares[:, :half] + squares[:, half:] + delta * delta * (count[:half] * share)
        mean, count = mean[:, :half] + delta * share, total
    return mean, squares / x.shape[1]


def textbook(moments: Moments, x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    mean, root = moments[0], (moments[1] + EPS).rsqrt()
    x_hat, g = (x - mean) * root, dy * weight
    through = x_hat * (g * x_hat).mean(1, keepdim=True)
    dx = (g - g.mean(1, keepdim=True) - through) * root
    return x_hat * weight + bias, dx, (dy * x_hat).sum(0, keepdim=True), dy.sum(0, keepdim=True)


def with_two_passes(x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    return textbook(two_pass(x), x, dy, weight, bias)


def with_welford(x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    return textbook(welford_in_lanes(x), x, dy, weight, bias)


def scale_and_shift(x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    """y = a x + b, and dx = a dy + p x + q: what cuDNN-like kernels fuse."""
    mean, variance = two_pass(x)
    root, n = (variance + EPS).rsqrt(), x.shape[1]
    a = root * weight
    sum_g, sum_gx = (dy * weight).sum(1, keepdim=True), (dy * weight * x).sum(1, keepdim=True)
    p = (sum_g * mean - sum_gx) * root * root * root / n
    q = -p * mean - sum_g * root / n
    dweight = (dy * (x - mean) * root).sum(0, keepdim=True)
    return x * a + (bias - mean * a), a * dy + p * x + q, dweight, dy.sum(0, keepdim=True)


def in_float64(x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    wide = [t.double() for t in (x, dy, weight, bias)]
    y, dx, dweight, dbias = textbook(two_pass(wide[0]), *wide)
    return y.to(x), dx.to(x), dweight.to(x), dbias.to(x)


def with_torch(x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor) -> Results:
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    y = F.layer_norm(leaves[0], x.shape[1:], leaves[1][0], leaves[2][0], EPS)
    dx, dweight, dbias = torch.autograd.grad(y, leaves, dy)
    return y.detach(), dx, dweight, dbias


HONEST = [with_two_passes, with_welford, scale_and_shift, in_float64, with_torch]


def worst_ratios(
    results: Results, x: Tensor, dy: Tensor, weight: Tensor, bias: Tensor, *, serial: bool = False
) -> dict[str, float]:
    """Return the worst ratio of each tensor, rounded to the format of ``x`` once."""
    view = (x.shape[0], x.shape[1])
    reduction = Reduction(view, (1,), (1, view[1]), centred=True)
    formula = Formula(EPS, serial=serial)
    problem = Problem(reduction, formula, x, FloatFormat.of(x.dtype), weight=weight, bias=bias)
    y, *rest = (result.to(x.dtype) for result in results)
    gradients = dict(zip(("x", "weight", "bias"), rest, strict=True))
    found = judge(problem, Observed({"y": y}, {"y": dy}, gradients))
    return {name: policies["fused"].ratio for name, policies in found.items()}


@pytest.mark.parametrize(
    ("count", "blocked"),
    [(1, 1), (2, 2), (3, 3), (7, 4), (31, 6), (32, 6), (33, 7), (64, 7), (1000, 37), (4096, 133)],
    ids=str,
)
def test_depth_is_that_of_32_lanes_and_a_tree(count: int, blocked: int) -> None:
    assert Formula(EPS).depth(count) == blocked
    assert Formula(EPS, serial=True).depth(count) == count


def test_the_budget_of_a_sum_counts_roundings_of_terms_and_additions() -> None:
    magnitude = torch.tensor([3.0, 0.0], dtype=torch.float64)
    budget = sum_budget(magnitude, 64, 3, Formula(EPS), 2.0**-24)
    assert budget.tolist() == [10 * 3.0 * 2.0**-24, 0.0]


@pytest.mark.parametrize("dtype", BY_NAME.values(), ids=BY_NAME)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("implementation", HONEST, ids=lambda f: f.__name__)
def test_honest_code_stays_within_budget(
    implementation: Callable[[Tensor, Tensor, Tensor, Tensor], Results],
    regime: str,
    dtype: torch.dtype,
) -> None:
    wide = FloatFormat.of(dtype).accumulation.dtype
    for n in LENGTHS:
        drawn = [REGIMES[regime](noise(ROWS, n, n)), noise(ROWS, n, n + 1)]
        drawn += [noise(1, n, n + 2), noise(1, n, n + 3)]
        given = [t.to(dtype) for t in drawn]
        x, dy, weight, bias = given
        results = implementation(*(t.to(wide) for t in given))
        ratios = worst_ratios(results, x, dy, weight, bias)
        assert set(ratios) == {"y", "grad_x", "grad_weight", "grad_bias"}
        assert max(ratios.values()) <= 1.0, (n, ratios)


@pytest.mark.parametrize("implementation", HONEST, ids=lambda f: f.__name__)
def test_parameter_gradients_over_many_rows_stay_within_budget(
    implementation: Callable[[Tensor, Tensor, Tensor, Tensor], Results],
) -> None:
    x, weight, bias = noise(4096, 8, 1) + 10.0, noise(1, 8, 2), noise(1, 8, 3)
    for dy in (noise(4096, 8, 4), torch.ones(4096, 8)):
        ratios = worst_ratios(implementation(x, dy, weight, bias), x, dy, weight, bias)
        assert max(ratios.values()) <= 1.0, ratios


def test_a_serial_sum_of_equal_terms_needs_the_serial_policy() -> None:
    x = torch.full((1, 4096), 0.1)
    total = torch.zeros(1, 1)
    for column in torch.split(x, 1, dim=1):
        total = total + column
    mean, variance = total / 4096, (x - total / 4096).square().mean(1, keepdim=True)
    weight, bias, dy = torch.ones(1, 4096), torch.zeros(1, 4096), noise(1, 4096, 5)
    results = textbook((mean, variance), x, dy, weight, bias)
    assert worst_ratios(results, x, dy, weight, bias)["y"] > 1.0
    assert worst_ratios(results, x, dy, weight, bias, serial=True)["y"] <= 1.0


@dataclass(frozen=True)
class Contract:
    reduction: Reduction
    formula: Formula


def contract(kind: str, n: int) -> Contract:
    view, affine = (ROWS, n), (1, n)
    place = {"outside": EpsPlace.OUTSIDE, "l2": EpsPlace.FLOOR}.get(kind, EpsPlace.INSIDE)
    centred, summed = kind in ("layer", "outside"), kind == "l2"
    return Contract(Reduction(view, (1,), affine, centred, summed), Formula(EPS, place))


@pytest.mark.parametrize("kind", ["layer", "rms", "outside", "l2"])
@pytest.mark.parametrize("regime", REGIMES)
def test_statistics_at_the_ends_of_their_budgets_keep_results_in_theirs(
    kind: str, regime: str
) -> None:
    for n in (2, 7, 64, 1000):
        given, x = contract(kind, n), REGIMES[regime](noise(ROWS, n, n)).double()
        g, weight = noise(ROWS, n, n + 1).double(), noise(1, n, n + 2).double()
        for sign in (1.0, -1.0):
            for turn in (1.0, -1.0):
                excess = corner(given, x, g, weight, sign, turn)
                assert excess <= 1.0, (n, sign, turn, excess)


def corner(given: Contract, x: Tensor, dy: Tensor, weight: Tensor, s: float, t: float) -> float:
    """Return the largest error over budget with mean off by s d and variance by t dv."""
    red, formula = given.reduction, given.formula
    exact = normalise(x, red, formula, weight)
    gradients = differentiate(exact, dy, red, formula, weight)
    budget = forward_budget(exact, red, formula, FLOAT32, weight)
    allowed = backward_budget(exact, gradients, budget, dy, red, formula, FLOAT32)
    fixed = (exact.mean + s * budget.mean, (exact.variance + t * budget.variance).clamp_min(0.0))
    off = normalise(x, red, formula, weight, fixed=fixed)
    x_hat = off.normalised
    projection = (gradients.scaled * x_hat).sum(1, keepdim=True)
    projection = projection if red.summed else projection / red.count
    through = x_hat * projection * off.stretch
    dx = (gradients.scaled - gradients.mean_scaled - through) * off.root
    # With eps outside the root the gradient of a constant row does not exist.
    smooth = (exact.variance > 0) | (formula.eps_place is not EpsPlace.OUTSIDE)
    live = (budget.power & smooth).expand_as(x)
    shares = [
        (off.output - exact.output).abs() / budget.output,
        (dx - gradients.x).abs() / allowed.x,
        (dy * (x_hat - exact.normalised)).abs() / (dy.abs() * budget.normalised + 1e-300),
    ]
    return max(float(share[live].max()) if live.any() else 0.0 for share in shares)


def test_without_errors_of_its_own_a_fixed_statistic_has_no_budget() -> None:
    x = noise(2, 3, 1).double()
    fixed = (torch.zeros(1, 3).double(), torch.ones(1, 3).double())
    red = Reduction((2, 3), (0,), (1, 3), centred=True)
    budget = forward_budget(
        normalise(x, red, Formula(EPS), fixed=fixed), red, Formula(EPS), FLOAT32
    )
    assert not budget.mean.any()
    assert not budget.variance.any()
    assert math.isfinite(float(budget.output.max()))
