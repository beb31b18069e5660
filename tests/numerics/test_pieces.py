"""Pieces of whole slices change nothing: the judge finds the same wherever it cuts."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import normcheck.numerics.judge as judge_module
from normcheck.numerics.acceptance import RATIO_CAP
from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import Comparisons, judge
from normcheck.numerics.problem import Observed, Problem, RunningUpdate
from normcheck.numerics.reduction import Formula, Reduction

EPS = 1e-5
REDUCTIONS = {
    "layer": Reduction((23, 12), (1,), (1, 12), centred=True),
    "rms": Reduction((23, 12), (1,), (1, 12), centred=False),
    "group": Reduction((5, 3, 4, 6), (2, 3), (1, 3, 4, 1), centred=True),
    "one_group": Reduction((6, 1, 4, 6), (2, 3), (1, 1, 4, 1), centred=True),
    "many_groups": Reduction((2, 9, 2, 5), (2, 3), (1, 9, 2, 1), centred=True),
    "batch": Reduction((4, 11, 6), (0, 2), (1, 11, 1), centred=True),
    "one_channel": Reduction((4, 1, 6), (0, 2), (1, 1, 1), centred=True),
    "instance": Reduction((4, 11, 6), (2,), (1, 11, 1), centred=True),
}
LIMITS = (1, 7, 40, 75, 150, 1 << 17)

reductions = pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def textbook(reduction: Reduction, x: Tensor, dy: Tensor, weight: Tensor) -> dict[str, Tensor]:
    over = reduction.over
    c = x - x.mean(over, keepdim=True) if reduction.centred else x
    variance = c.square().mean(over, keepdim=True)
    root = (variance + EPS).rsqrt()
    x_hat, g = c * root, dy * weight
    inner = g - x_hat * (g * x_hat).mean(over, keepdim=True)
    if reduction.centred:
        inner = inner - g.mean(over, keepdim=True)
    axes = tuple(i for i, size in enumerate(reduction.affine) if size == 1)
    return {
        "y": x_hat * weight,
        "x": inner * root,
        "weight": (dy * x_hat).sum(axes, keepdim=True),
        "bias": dy.sum(axes, keepdim=True),
        "mean": (x - c).mean(over, keepdim=True),
        "variance": variance,
    }


def spoiled(x: Tensor, seed: int, size: float) -> Tensor:
    """Scale some elements, each by a size of its own, so that one of them is the worst."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(x.numel(), generator=generator)[: max(1, x.numel() // 5)]
    flat = x.flatten().clone()
    flat[chosen] *= 1.0 + size * (1 + torch.arange(len(chosen)))
    return flat.reshape(x.shape)


def posed(reduction: Reduction, dtype: torch.dtype) -> tuple[Problem, Observed]:
    x, dy = (noise(reduction.view, seed).to(dtype) for seed in (1, 2))
    weight, bias = (noise(reduction.affine, seed).to(dtype) for seed in (3, 4))
    right = textbook(reduction, x.double(), dy.double(), weight.double())
    right["y"] = right["y"] + bias.double()
    # Well below the cap of all ratios, where the worst would be any of several.
    size = 2.0**-30 if dtype == torch.float64 else 2.0**-12
    wrong = {name: spoiled(value, 5, size).to(dtype) for name, value in right.items()}
    running, state = None, {}
    if right["mean"].numel() == weight.numel():
        old = torch.zeros(reduction.affine, dtype=dtype)
        running = RunningUpdate(old, old, momentum=1.0, biased=True)
        state = {"running_mean": wrong["mean"], "running_var": wrong["variance"]}
    fmt = FloatFormat.of(dtype)
    problem = Problem(reduction, Formula(EPS), x, fmt, weight=weight, bias=bias, running=running)
    given = {name: wrong[name] for name in ("x", "weight", "bias")}
    return problem, Observed({"y": wrong["y"]}, {"y": dy}, given, state)


def flat(found: Comparisons) -> Iterator[tuple[str, Comparison]]:
    for tensor, policies in found.items():
        for policy, comparison in policies.items():
            yield f"{tensor} {policy}", comparison


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@reductions
def test_counts_and_worst_places_do_not_depend_on_the_size_of_pieces(
    reduction: Reduction, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, observed = posed(reduction, dtype)
    whole = dict(flat(judge(problem, observed)))
    for limit in LIMITS:
        monkeypatch.setattr(judge_module, "PIECE_ELEMENTS", limit)
        cut = dict(flat(judge(problem, observed)))
        assert cut.keys() == whole.keys()
        for name, comparison in cut.items():
            assert_same(comparison, whole[name], name)


def assert_same(cut: Comparison, whole: Comparison, name: str) -> None:
    assert (cut.judged, cut.violations) == (whole.judged, whole.violations), name
    assert cut.worst is not None
    assert whole.worst is not None
    assert cut.worst.index == whole.worst.index, name
    # Float64 sums of another shape may be added in another order.
    assert math.isclose(cut.ratio, whole.ratio, rel_tol=2.0**-20), name


@reductions
def test_the_worst_index_is_where_the_error_was_planted(reduction: Reduction) -> None:
    problem, _ = posed(reduction, torch.float32)
    right = textbook(
        reduction, problem.x.double(), noise(reduction.view, 2), torch.ones(()).double()
    )
    plain = Problem(reduction, Formula(EPS), problem.x, problem.output)
    for place in ((0,) * len(reduction.view), tuple(size - 1 for size in reduction.view)):
        y = right["y"].float()
        y[place] += 0.125
        found = judge(plain, Observed({"y": y}))["y"]["fused"]
        assert found.violations == 1
        assert found.worst is not None
        assert found.worst.index == place


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@reductions
def test_of_equal_ratios_the_earliest_place_is_the_worst_whatever_the_pieces(
    reduction: Reduction, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, _ = posed(reduction, torch.float32)
    y = torch.full(reduction.view, float("nan"))
    monkeypatch.setattr(judge_module, "PIECE_ELEMENTS", limit)
    found = judge(problem, Observed({"y": y}))["y"]["fused"]
    assert found.worst is not None
    assert found.worst.index == (0,) * len(reduction.view)
    assert found.ratio == RATIO_CAP
    assert found.nonfinite == found.violations == y.numel()


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@reductions
def test_pieces_cover_every_element_once_and_respect_the_limit(
    reduction: Reduction, limit: int
) -> None:
    seen = torch.zeros(reduction.view)
    slice_of_axis = math.prod(reduction.view) // max(
        size for i, size in enumerate(reduction.view) if i not in reduction.over
    )
    for piece in reduction.pieces(limit):
        part = piece.take(seen)
        assert part.shape == piece.reduction.view
        assert part.numel() <= max(limit, slice_of_axis)
        part += 1
    assert seen.eq(1).all()
