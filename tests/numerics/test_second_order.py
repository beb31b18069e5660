"""Tangents and second derivatives against autograd, high precision, and wrong formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath  # type: ignore[import-untyped]  # comes with torch
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Problem
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction
from normcheck.numerics.second_order import Directions, second_derivatives, supports, tangent

# Untyped in torch.
make_dual: Callable[..., Tensor] = forward_ad.make_dual
unpack_dual: Callable[..., Any] = forward_ad.unpack_dual
LAYER = Reduction((5, 24), (1,), (1, 24), centred=True)
RMS = Reduction((5, 24), (1,), (1, 24), centred=False)
BATCH = Reduction((6, 4, 3), (0, 2), (1, 4, 1), centred=True)
GROUP = Reduction((3, 2, 4, 5), (2, 3), (1, 2, 4, 1), centred=True)
L2 = Reduction((5, 24), (1,), (), centred=False, summed=True)
WIDE = {torch.float32: FloatFormat.of(torch.float32), torch.float64: FloatFormat.of(torch.float64)}


@dataclass(frozen=True)
class Sample:
    problem: Problem
    dy: Tensor
    along: Directions

    def affine(self) -> tuple[Tensor, Tensor]:
        """The weight, and its direction."""
        assert self.problem.weight is not None
        assert self.along.weight is not None
        return self.problem.weight, self.along.weight


def sample(
    reduction: Reduction,
    dtype: torch.dtype,
    *,
    affine: bool = True,
    fixed: bool = False,
    floor: float | None = None,
    offset: float = 0.0,
    eps: float = 1e-3,
) -> Sample:
    generator = torch.Generator().manual_seed(7)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    view, small = reduction.view, reduction.affine
    affine = affine and bool(small)
    place = EpsPlace.INSIDE if floor is None else EpsPlace.FLOOR
    formula = Formula(eps if floor is None else floor, place, weight_offset=offset)
    problem = Problem(
        reduction,
        formula,
        (draw(view) + 3.0).to(dtype),
        WIDE[dtype],
        weight=draw(small) if affine else None,
        bias=draw(small) if affine else None,
        fixed=(draw(small), draw(small).abs() + 0.5) if fixed else None,
    )
    moves = [draw(small).double() if affine else None for _ in range(2)]
    return Sample(problem, draw(view).double(), Directions(draw(view).double(), *moves))


def plain(given: Problem, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The op as a user writes it, in the dtype of its arguments."""
    over, eps = given.reduction.over, given.formula.eps
    if given.fixed is not None:
        mean, variance = (t.to(x.dtype) for t in given.fixed)
        y = (x - mean) * torch.rsqrt(variance + eps)
    elif given.reduction.summed:
        y = x / x.square().sum(over, keepdim=True).sqrt().clamp_min(eps)
    else:
        centred = x - x.mean(over, keepdim=True) if given.reduction.centred else x
        y = centred * torch.rsqrt(centred.square().mean(over, keepdim=True) + eps)
    if weight is not None:
        y = y * (weight + given.formula.weight_offset)
    return y if bias is None else y + bias


def by_autograd(given: Sample, dtype: torch.dtype) -> dict[str, Tensor]:
    problem, along = given.problem, given.along
    named = {"x": problem.x, "weight": problem.weight, "bias": problem.bias}
    leaves = {n: t.to(dtype).requires_grad_() for n, t in named.items() if t is not None}
    dy = given.dy.to(dtype).requires_grad_()
    y = plain(problem, leaves["x"], leaves.get("weight"), leaves.get("bias"))
    first = torch.autograd.grad(y, list(leaves.values()), dy, create_graph=True)
    named = {"x": along.x, "weight": along.weight, "bias": along.bias}
    moves = [t.to(dtype) for n, t in named.items() if n in leaves and t is not None]
    wanted = {n: t for n, t in {**leaves, "dy": dy}.items() if n != "bias"}
    second = torch.autograd.grad(first, list(wanted.values()), moves, allow_unused=True)
    pairs = zip(wanted.items(), second, strict=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in pairs}


SAMPLES = {
    "layer": {"reduction": LAYER},
    "layer_without_affine": {"reduction": LAYER, "affine": False},
    "rms": {"reduction": RMS},
    "one_plus": {"reduction": RMS, "offset": 1.0},
    "batch": {"reduction": BATCH},
    "evaluation": {"reduction": BATCH, "fixed": True},
    "group": {"reduction": GROUP},
    "l2": {"reduction": L2, "floor": 1e-3},
    "l2_below_its_floor": {"reduction": L2, "floor": 100.0},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", SAMPLES)
def test_autograd_in_the_same_format_stays_within_half_of_the_budget(
    name: str, dtype: torch.dtype
) -> None:
    given = sample(dtype=dtype, **SAMPLES[name])  # type: ignore[arg-type]  # a table
    exact = second_derivatives(given.problem, given.dy, given.along)
    for tensor, computed in by_autograd(given, dtype).items():
        found = exact[tensor].compare(computed)
        nothing = not bool(exact[tensor].exact.double().any())
        assert found.judged == computed.numel() or nothing, (tensor, found)
        assert found.ratio <= 0.5, (tensor, found)


@pytest.mark.parametrize("name", SAMPLES)
def test_exact_values_agree_with_autograd_in_float64(name: str) -> None:
    # float64 on float32 inputs: what autograd loses is 2**-29 of the float32 budget.
    given = sample(dtype=torch.float32, **SAMPLES[name])  # type: ignore[arg-type]  # a table
    exact = second_derivatives(given.problem, given.dy, given.along)
    for tensor, computed in by_autograd(given, torch.float64).items():
        error = (exact[tensor].exact.double() - computed).abs()
        assert bool((error <= 2.0**-26 * exact[tensor].delta).all()), tensor


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_the_tangent_is_what_forward_mode_gives() -> None:
    given = sample(GROUP, torch.float64)
    problem, along = given.problem, given.along
    pairs = [(problem.x, along.x), given.affine(), (problem.bias, along.bias)]
    with forward_ad.dual_level():
        x, weight, bias = (make_dual(t, v) for t, v in pairs)
        moved = unpack_dual(plain(problem, x, weight, bias)).tangent
    found = tangent(problem, along).compare(moved)
    assert found.judged == moved.numel()
    assert found.ratio <= 0.5


@pytest.mark.parametrize("centred", [True, False])
def test_one_row_against_differences_at_fifty_digits(centred: bool) -> None:
    reduction = Reduction((1, 5), (1,), (1, 5), centred=centred)
    given = sample(reduction, torch.float64)
    x, w, dy, v, vw = (
        [mpmath.mpf(float(e)) for e in t.flatten()]
        for t in (given.problem.x, given.affine()[0], given.dy, given.along.x, given.affine()[1])
    )
    eps = mpmath.mpf(given.problem.formula.eps)

    def loss(s: mpmath.mpf, t: mpmath.mpf, place: int) -> mpmath.mpf:
        """sum(dy * y), s along the directions and t along one element of x."""
        moved = [
            a + s * b + (t if i == place else 0) for i, (a, b) in enumerate(zip(x, v, strict=True))
        ]
        mean = mpmath.fsum(moved) / 5 if centred else 0
        c = [a - mean for a in moved]
        root = 1 / mpmath.sqrt(mpmath.fsum(a * a for a in c) / 5 + eps)
        weights = [a + s * b for a, b in zip(w, vw, strict=True)]
        return mpmath.fsum(d * a * root * b for d, a, b in zip(dy, c, weights, strict=True))

    exact = second_derivatives(given.problem, given.dy, given.along)["x"].exact
    with mpmath.workdps(50):
        for place in range(5):
            wanted = mpmath.diff(lambda s, t, p=place: loss(s, t, p), (0, 0), (1, 1))
            got = mpmath.mpf(float(exact.hi[0, place])) + mpmath.mpf(float(exact.lo[0, place]))
            # Double-double keeps 2**-100 of the terms; differences at 50 digits keep some 16.
            assert abs(got - wanted) <= 1e-14 * (1 + abs(wanted))


def constant_statistics(given: Sample) -> Tensor:
    """A backward pass that saved x^ and r, differentiated as it stands: x plays no part."""
    return torch.zeros_like(given.problem.x)


def constant_root(given: Sample) -> Tensor:
    """Only r was saved: x^ = c r still depends on x."""
    problem = given.problem
    x = problem.x.detach().clone().requires_grad_()
    centred = x - x.mean(1, keepdim=True)
    root = torch.rsqrt(centred.square().mean(1, keepdim=True) + problem.formula.eps).detach()
    x_hat, g = centred * root, given.dy.to(x.dtype) * given.affine()[0]
    mean = g.mean(1, keepdim=True)
    dx = root * (g - mean - x_hat * (g * x_hat).mean(1, keepdim=True))
    dw = (given.dy.to(x.dtype) * x_hat).sum(0, keepdim=True)
    total = (dx * given.along.x.to(x.dtype)).sum() + (dw * given.affine()[1].to(x.dtype)).sum()
    return torch.autograd.grad(total, x)[0]


def wrong_sign(given: Sample) -> Tensor:
    return -by_autograd(given, torch.float32)["x"]


def two_for_three(given: Sample) -> Tensor:
    """The last term of H with another factor, which small inner products hide."""
    found, problem = by_autograd(given, torch.float32)["x"], given.problem
    c = problem.x - problem.x.mean(1, keepdim=True)
    root = torch.rsqrt(c.square().mean(1, keepdim=True) + problem.formula.eps)
    g, v = given.dy.float() * given.affine()[0], given.along.x.float()
    a, b = ((t * c * root).mean(1, keepdim=True) for t in (g, v))
    return (found - root * root * (c * root) * a * b).detach()


@pytest.mark.parametrize("wrong", [constant_statistics, constant_root, wrong_sign, two_for_three])
def test_wrong_formulas_are_far_outside(wrong: object) -> None:
    given = sample(LAYER, torch.float32)
    assert callable(wrong)
    found = second_derivatives(given.problem, given.dy, given.along)["x"].compare(wrong(given))
    assert found.ratio > 100.0, found


def test_a_constant_row_decides_nothing() -> None:
    given = sample(LAYER, torch.float32, eps=1e-12)
    given.problem.x[2] = 0.1
    judged = second_derivatives(given.problem, given.dy, given.along)["x"].judged
    assert judged.expand(5, 24).all(1).tolist() == [True, True, False, True, True]


def test_eps_outside_the_root_is_refused() -> None:
    formula = Formula(1e-3, EpsPlace.OUTSIDE)
    assert not supports(formula)
    given = sample(LAYER, torch.float32)
    problem = Problem(LAYER, formula, given.problem.x, given.problem.output)
    with pytest.raises(ValueError, match="eps_place is outside, but D1 and D2 are derived for"):
        tangent(problem, given.along)
