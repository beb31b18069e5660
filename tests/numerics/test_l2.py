"""Sums of squares under a floor: what underflows, and the kink that has no gradient."""

import pytest
import torch
from torch import Tensor

from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Observed, Problem
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction

ROWS, N = 6, 4096


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def judged(x: Tensor, eps: float, dy: Tensor | None = None) -> dict[str, Comparison]:
    """Judge torch.nn.functional.normalize, with its gradient where ``dy`` is given."""
    x = x.requires_grad_()
    y = torch.nn.functional.normalize(x, dim=1, eps=eps)
    reduction = Reduction(tuple(x.shape), (1,), (), centred=False, summed=True)
    problem = Problem(reduction, Formula(eps, EpsPlace.FLOOR), x.detach(), FloatFormat.of(x.dtype))
    observed = Observed({"y": y.detach()})
    if dy is not None:
        (dx,) = torch.autograd.grad(y, x, dy)
        observed = Observed({"y": y.detach()}, {"y": dy}, {"x": dx})
    return {tensor: found["fused"] for tensor, found in judge(problem, observed).items()}


@pytest.mark.parametrize("scale", [1e-20, 1e-21, 1e-22, 1e-23], ids=str)
@pytest.mark.parametrize("blocks", [1, 64, N], ids=["whole", "blocked", "serial"])
def test_squares_that_underflow_are_not_held_against_an_honest_sum(
    scale: float, blocks: int
) -> None:
    x = scale * noise((ROWS, N), 1)
    norm = torch.zeros(ROWS, 1)
    for block in x.square().chunk(blocks, dim=1):
        norm += block.sum(1, keepdim=True)
    y = x / norm.sqrt().clamp_min(1e-30)
    reduction = Reduction((ROWS, N), (1,), (), centred=False, summed=True)
    formula = Formula(1e-30, EpsPlace.FLOOR, serial=blocks == N)
    problem = Problem(reduction, formula, x, FloatFormat.of(x.dtype))
    assert judge(problem, Observed({"y": y}))["y"]["fused"].violations == 0


def test_where_squares_hold_most_of_their_bits_a_wrong_norm_is_still_refused() -> None:
    x = 1e-20 * noise((ROWS, N), 1)
    y = x / x.double().norm(dim=1, keepdim=True) * 1.25
    reduction = Reduction((ROWS, N), (1,), (), centred=False, summed=True)
    problem = Problem(reduction, Formula(1e-30, EpsPlace.FLOOR), x, FloatFormat.of(x.dtype))
    found = judge(problem, Observed({"y": y.float()}))["y"]["fused"]
    assert found.judged == ROWS * N
    assert found.violations > 0


@pytest.mark.parametrize(
    ("size", "counted"), [(0.5, 1), (1.0, 0), (2.0, 1)], ids=["below", "at the kink", "above"]
)
def test_the_gradient_is_judged_on_either_side_of_the_kink_but_not_at_it(
    size: float, counted: int
) -> None:
    # 16 elements of 1/4 have norm 1, exactly.
    eps, x = 1.0, torch.full((3, 16), 0.25 * size)
    dy = noise((3, 16), 2)
    found = judged(x, eps, dy)
    assert found["grad_x"].judged == counted * x.numel()
    assert found["grad_x"].violations == 0
    assert (found["y"].judged, found["y"].violations) == (x.numel(), 0)


def test_one_ulp_from_the_kink_the_gradient_is_not_judged() -> None:
    for ulps in (-1, 2):
        row = torch.full((1, 16), 0.25 * (1 + ulps * 2.0**-24))
        assert row[0, 0] != 0.25
        assert judged(row, 1.0, noise((1, 16), 3))["grad_x"].judged == 0
