"""Shapes, parts and masks of the newer ops: hand-computed numbers and what a case becomes."""

import math
import re

import pytest
import torch

from normcheck.cases.case import Case
from normcheck.cases.corpus import corpus, expressible, fitted
from normcheck.cases.materialise import materialise
from normcheck.cases.pose import formula_of, pose
from normcheck.errors import UsageError
from normcheck.numerics.reduction import Reduction
from normcheck.ops import catalogue
from normcheck.ops.op import Settings
from normcheck.policy import Policy

PAIRS = ("qk_l2_norm", "qk_layer_norm", "qk_norm")
NEW = (*PAIRS, "ada_layer_norm", "masked_batch_norm", "rms_norm_gated", "weight_norm")


def reduced(name: str, shape: tuple[int, ...], groups: int = 1) -> Reduction:
    return catalogue.find(name).reduce(shape, Settings(groups=groups))


# name, shape of x, view, shape of weight in the view, n, products per parameter gradient M
HAND = [
    ("qk_norm", (2, 3, 5, 4, 8), (2, 60, 8), (2, 1, 8), 8, 60),
    ("qk_layer_norm", (2, 1, 1, 1, 8), (2, 1, 8), (2, 1, 8), 8, 1),
    ("qk_l2_norm", (2, 3, 5, 4, 8), (2, 60, 8), (), 8, 0),
    ("ada_layer_norm", (3, 7, 16), (3, 7, 16), (3, 1, 16), 16, 7),
    ("masked_batch_norm", (5, 4, 9), (5, 4, 9), (1, 4, 1), 45, 45),
    ("weight_norm", (6, 2, 3, 3), (6, 18), (6, 1), 18, 18),
]


@pytest.mark.parametrize(
    ("name", "shape", "view", "affine", "count", "sums"), HAND, ids=[row[0] for row in HAND]
)
def test_reductions_are_those_computed_by_hand(
    name: str,
    shape: tuple[int, ...],
    view: tuple[int, ...],
    affine: tuple[int, ...],
    count: int,
    sums: int,
) -> None:
    found = reduced(name, shape)
    assert (found.view, found.affine) == (view, affine)
    assert (found.count, found.contributions) == (count, sums)


def test_a_mask_leaves_out_elements_of_every_sum() -> None:
    inputs = materialise(Case("masked_batch_norm", "float32", (5, 4, 9)))
    valid = int(inputs.tensors["mask"].sum())
    assert 0 < valid < 45
    found = pose(inputs, Policy()).reduction
    assert (found.count, found.contributions) == (valid, valid)


@pytest.mark.parametrize("seed", range(6))
def test_padding_is_finite_garbage_and_gets_no_gradient(seed: int) -> None:
    for dtype in ("float16", "float32"):
        case = Case("masked_batch_norm", dtype, (6, 3, 11), "calm", seed=seed)
        inputs = materialise(case)
        x, mask, dy = (inputs.tensors["x"], inputs.tensors["mask"], inputs.dy["y"])
        padding = ~mask[:, None, :].expand_as(x)
        assert mask.dtype == torch.bool
        assert padding.any()
        assert x.isfinite().all()
        assert x[padding].abs().min() >= 999.5
        assert dy[padding].eq(0).all()
        assert dy[~padding].ne(0).any()
        # Lengths on even seeds, scattered on odd ones.
        is_prefix = bool((mask[:, 1:] <= mask[:, :-1]).all())
        assert is_prefix is (seed % 2 == 0)


@pytest.mark.parametrize(
    ("name", "shape", "near"),
    [
        ("qk_norm", (33, 64), (2, 1, 17, 1, 64)),
        ("qk_norm", (600, 48), (2, 2, 25, 6, 48)),
        ("qk_norm", (0, 7), (2, 1, 0, 8, 7)),
        ("qk_norm", (2, 3, 5, 4, 8), (2, 3, 5, 4, 8)),
        ("ada_layer_norm", (33, 64), (3, 11, 64)),
        ("ada_layer_norm", (7,), (1, 1, 7)),
        ("masked_batch_norm", (4, 6, 3, 5), (4, 6, 15)),
        ("masked_batch_norm", (4, 6), (4, 6, 1)),
        ("weight_norm", (4, 6, 3, 5), (4, 6, 3, 5)),
    ],
)
def test_shapes_become_ones_that_the_op_has_a_meaning_for(
    name: str, shape: tuple[int, ...], near: tuple[int, ...]
) -> None:
    op = catalogue.find(name)
    assert op.shaped(shape) == near
    assert op.shaped(near) == near


@pytest.mark.parametrize("name", ["qk_norm", "ada_layer_norm"])
def test_another_shape_is_refused_with_the_nearest(name: str) -> None:
    near = {"qk_norm": "2x1x17x1x64", "ada_layer_norm": "3x11x64"}[name]
    message = f"shape of case is (33, 64), but must be one that {name} has a meaning for, as {near}"
    with pytest.raises(UsageError, match=re.escape(message)):
        materialise(Case(name, "float32", (33, 64)))


def test_a_weight_norm_needs_a_second_dimension() -> None:
    op, case = catalogue.find("weight_norm"), Case("weight_norm", "float32", (7,))
    assert op.shaped((7,)) is None
    assert fitted(case, op) is None
    message = "shape of case is (7,), but must be one that weight_norm has a meaning for"
    with pytest.raises(UsageError, match=re.escape(message)):
        materialise(case)


def test_groups_have_to_divide_the_last_dimension() -> None:
    case = Case("rms_norm_gated", "float32", (4, 6), groups=4)
    with pytest.raises(UsageError, match="groups of case is 4, but must divide 6"):
        materialise(case)
    found = expressible(case, catalogue.find("rms_norm_gated"))
    assert found is not None
    assert found.groups == 1


@pytest.mark.parametrize("name", NEW)
def test_corpora_reach_the_edges_of_rows_and_columns(name: str) -> None:
    op = catalogue.find(name)
    found = corpus(op, "float32", 2)
    assert len({case.id for case in found}) == len(found)
    assert all(expressible(case, op) == case for case in found)
    sizes = {case.shape[-1] for case in found}
    rows = {math.prod(case.shape[:-1]) for case in found}
    if name == "masked_batch_norm":
        assert {1, 3, 127, 129, 257, 1025, 4097} <= sizes
        assert {"train", "eval"} == {case.mode for case in found}
    else:
        assert {1, 2, 3, 17, 255, 256, 257, 1023, 1025, 4095, 4097, 8193} <= sizes
        assert 0 in rows
        assert max(rows) >= 65536
    if name == "rms_norm_gated":
        assert {1, 2, 3, 4, 8} <= {case.groups for case in found}


def test_one_plus_is_the_convention_of_adaptive_norms_alone() -> None:
    for name in NEW:
        inputs = materialise(corpus(catalogue.find(name), "float32", 1)[0])
        assert formula_of(inputs, Policy()).weight_offset == (name == "ada_layer_norm")
        assert formula_of(inputs, Policy(weight="one_plus")).weight_offset == 1.0
        assert formula_of(inputs, Policy(weight="plain")).weight_offset == 0.0
