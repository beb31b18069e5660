"""Every op's reduction against hand-computed numbers, and against torch in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import pose
from normcheck.numerics.reduction import Reduction
from normcheck.numerics.reference import normalise
from normcheck.ops import catalogue
from normcheck.ops.op import Settings
from normcheck.policy import Policy

F = torch.nn.functional
SHAPE = (4, 6, 3, 5)

# op, settings, view, elements of a slice n, slices, products per parameter gradient M
HAND = [
    ("layer_norm", Settings(dims=1), (72, 5), 5, 72, 72),
    ("layer_norm", Settings(dims=2), (24, 15), 15, 24, 24),
    ("layer_norm", Settings(dims=3), (4, 90), 90, 4, 4),
    ("layer_norm", Settings(dims=4), (1, 360), 360, 1, 1),
    ("rms_norm", Settings(dims=2), (24, 15), 15, 24, 24),
    ("add_layer_norm", Settings(), (72, 5), 5, 72, 72),
    ("add_rms_norm", Settings(), (72, 5), 5, 72, 72),
    ("l2_norm", Settings(), (72, 5), 5, 72, 0),
    ("group_norm", Settings(groups=1), (4, 1, 6, 15), 90, 4, 60),
    ("group_norm", Settings(groups=3), (4, 3, 2, 15), 30, 12, 60),
    ("group_norm", Settings(groups=6), (4, 6, 1, 15), 15, 24, 60),
    ("instance_norm", Settings(), (4, 6, 15), 15, 24, 60),
    ("batch_norm", Settings(), (4, 6, 15), 60, 6, 60),
    ("weight_norm", Settings(), (4, 90), 90, 4, 90),
    ("rms_norm_gated", Settings(groups=1), (72, 1, 5), 5, 72, 72),
    ("rms_norm_gated", Settings(groups=5), (72, 5, 1), 1, 360, 72),
]


@pytest.mark.parametrize(
    ("name", "settings", "view", "count", "slices", "contributions"),
    HAND,
    ids=[f"{name}-{s.dims}-{s.groups}" for name, s, *_ in HAND],
)
def test_views_and_counts_are_those_computed_by_hand(
    name: str,
    settings: Settings,
    view: tuple[int, ...],
    count: int,
    slices: int,
    contributions: int,
) -> None:
    reduction = catalogue.find(name).reduce(SHAPE, settings)
    assert reduction.view == view
    assert (reduction.count, math.prod(reduction.slices)) == (count, slices)
    assert reduction.contributions == contributions


CENTRED = {
    "add_layer_norm": True,
    "add_rms_norm": False,
    "batch_norm": True,
    "group_norm": True,
    "instance_norm": True,
    "l2_norm": False,
    "layer_norm": True,
    "rms_norm": False,
}
SHAPES = {
    "layer_norm": [(7,), (0, 3), (2, 0), (1, 1), (2, 3, 4, 5, 6)],
    "batch_norm": [(4, 6), (0, 6, 2), (2, 6, 0), (1, 1), (2, 6, 2, 2, 2)],
}


def reductions(name: str) -> list[tuple[tuple[int, ...], Reduction]]:
    op = catalogue.find(name)
    shapes = SHAPES["layer_norm" if op.family == "rows" else "batch_norm"]
    return [(shape, op.reduce(shape, Settings())) for shape in shapes]


@pytest.mark.parametrize("name", CENTRED)
def test_a_view_has_the_elements_of_its_shape_and_slices_share_them_out(name: str) -> None:
    for shape, reduction in reductions(name):
        assert math.prod(reduction.view) == math.prod(shape)
        assert reduction.count * math.prod(reduction.slices) == math.prod(shape)
        assert reduction.centred is CENTRED[name]
        assert reduction.summed is (name == "l2_norm")


@pytest.mark.parametrize("name", CENTRED)
def test_parameters_broadcast_over_the_view_and_have_the_op_s_size(name: str) -> None:
    op = catalogue.find(name)
    for shape, reduction in reductions(name):
        if not op.has_affine:
            assert reduction.affine == ()
            continue
        size = shape[-1] if op.family == "rows" else shape[1]
        assert math.prod(reduction.affine) == size
        assert torch.ones(reduction.affine).expand(reduction.view).shape == reduction.view
        assert reduction.contributions * size == math.prod(shape)


def torch_result(inputs: Inputs) -> Tensor:
    """What torch computes for a case."""
    t, case, eps = inputs.tensors, inputs.case, inputs.eps
    x, weight, bias = t["x"] + t.get("residual", 0.0), t.get("weight"), t.get("bias")
    mean, variance = t.get("running_mean"), t.get("running_var")
    train = case.mode == "train"
    match case.op:
        case "layer_norm" | "add_layer_norm":
            return F.layer_norm(x, inputs.normalized_shape, weight, bias, eps)
        case "rms_norm" | "add_rms_norm":
            return F.rms_norm(x, inputs.normalized_shape, weight, eps)
        case "group_norm":
            return F.group_norm(x, case.groups, weight, bias, eps)
        case "instance_norm":
            return F.instance_norm(x, mean, variance, weight, bias, train, 0.2, eps)
        case "batch_norm":
            return F.batch_norm(x, mean, variance, weight, bias, train, 0.2, eps)
    return F.normalize(x, dim=-1, eps=eps)


CROSS = """\
layer_norm/f64/5x33/plain layer_norm/f64/5x4x9/plain/dims=2 layer_norm/f64/5x4x9/plain/dims=3
layer_norm/f64/5x33/plain/weight=none layer_norm/f64/17/plain/bias=none/eps=0.5
rms_norm/f64/5x33/plain rms_norm/f64/5x4x9/plain/dims=2/weight=none
add_layer_norm/f64/5x33/plain add_rms_norm/f64/5x33/plain/seed=3
l2_norm/f64/5x33/plain l2_norm/f64/5x33/plain/eps=100.0 l2_norm/f64/2x3x7/plain
group_norm/f64/4x6x5/plain/groups=3 group_norm/f64/4x6x5x3/plain/groups=2/bias=none
instance_norm/f64/4x6x5/plain instance_norm/f64/4x6x5x3/plain/mode=eval
instance_norm/f64/4x6x5/plain/stats=none batch_norm/f64/4x6x5/plain batch_norm/f64/9x6/plain
batch_norm/f64/4x6x5x3/plain/mode=eval batch_norm/f64/4x6x5/plain/stats=none
"""


@pytest.mark.parametrize("tail", CROSS.split())
def test_the_reference_agrees_with_torch_in_float64(tail: str) -> None:
    # A cross-check of meaning, not of accuracy: 1e-12 is 4500 unit roundoffs.
    inputs = materialise(Case.parse(f"nc1:{tail}"))
    problem = pose(inputs, Policy())
    x = problem.x if problem.residual is None else problem.x + problem.residual
    found = normalise(
        x, problem.reduction, problem.formula, problem.weight, problem.bias, problem.fixed
    )
    expected = torch_result(inputs).reshape(found.output.shape)
    assert expected.abs().max() > 0.01
    assert (found.output - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_evaluation_without_tracked_statistics_still_gets_them() -> None:
    case = Case("batch_norm", "float64", (4, 6, 5), mode="eval", stats="none")
    assert pose(materialise(case), Policy()).fixed is not None
    train = replace(case, mode="train")
    assert pose(materialise(train), Policy()).running is None
