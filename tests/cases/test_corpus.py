"""normcheck.cases.corpus: the fixed cases have a meaning for their op and reach every edge."""

import math
from functools import cache

import pytest

from normcheck.cases.case import DTYPES, Case
from normcheck.cases.corpus import corpus, fitted
from normcheck.cases.materialise import ELEMENT_CEILING, SLICE_CEILING, materialise
from normcheck.ops import catalogue
from normcheck.ops.op import Family, Settings

# Ops that take any shape; the shapes of the others are tests/ops/test_new_ops.py's.
ANY = [
    name
    for name in catalogue.names()
    if all(catalogue.find(name).shaped(shape) == shape for shape in ((7,), (4, 6), (4, 6, 3, 5)))
]
ROWS = [name for name in ANY if catalogue.find(name).family is Family.ROWS]
CHANNELS = [name for name in ANY if name not in ROWS]

ops = pytest.mark.parametrize("name", catalogue.names())
depths = pytest.mark.parametrize("depth", [1, 2, 3], ids=["quick", "standard", "thorough"])


@cache
def corpus_of(name: str, depth: int, dtype: str = "float32") -> list[Case]:
    return corpus(catalogue.find(name), dtype, depth)


@ops
@depths
def test_ids_are_unique_and_read_back(name: str, depth: int) -> None:
    found = corpus_of(name, depth)
    assert len({case.id for case in found}) == len(found)
    assert [Case.parse(case.id) for case in found] == found


@ops
def test_a_deeper_corpus_holds_the_shallower_one_in_its_order(name: str) -> None:
    quick, standard, thorough = (corpus_of(name, depth) for depth in (1, 2, 3))
    assert standard[: len(quick)] == quick == thorough[: len(quick)]
    # Sweeps of sizes come after all tables, so those of thorough stand before them.
    known = set(standard)
    assert [case for case in thorough if case in known] == standard
    assert len(thorough) > len(standard) > len(quick)


@pytest.mark.parametrize("dtype", DTYPES.values())
@ops
def test_quick_and_standard_cases_all_materialise(name: str, dtype: str) -> None:
    """Those of standard in one dtype, by turns: the larger shapes are alike in all."""
    turn = list(DTYPES.values())[catalogue.names().index(name) % len(DTYPES)]
    for case in corpus_of(name, 2 if dtype == turn else 1, dtype):
        inputs = materialise(case)
        assert inputs.tensors["x"].shape == case.shape
        assert {dy.shape for dy in inputs.dy.values()} == {case.shape}


@ops
def test_thorough_cases_stay_below_the_ceilings(name: str) -> None:
    for case in corpus_of(name, 3):
        reduction = catalogue.find(name).reduce(case.shape, Settings(case.dims, case.groups))
        assert case.elements <= ELEMENT_CEILING
        assert reduction.count <= SLICE_CEILING


@pytest.mark.parametrize("name", ROWS)
def test_rows_reach_every_edge_size(name: str) -> None:
    shapes = [case.shape for case in corpus_of(name, 2)]
    columns = {shape[-1] for shape in shapes}
    around = {size + d for size in (256, 1024, 4096) for d in (-1, 0, 1)}
    assert {1, 2, 3, 8, 17, 31, *around, 8191, 8192, 8193, 131072} <= columns
    assert {0, 1, 65535, 65536, 65537} <= {shape[0] for shape in shapes}
    assert {len(shape) for shape in shapes} == {1, 2, 3, 4, 5}
    assert any(0 in shape[1:] for shape in shapes)
    assert (1, 1) in shapes


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_one_to_four_trailing_dimensions_are_normalised(name: str) -> None:
    assert {case.dims for case in corpus_of(name, 2)} == {1, 2, 3, 4}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_reach_every_edge_size(name: str) -> None:
    shapes = [case.shape for case in corpus_of(name, 2)]
    positions = {math.prod(shape[2:]) for shape in shapes}
    assert {1, 3, 127, 129, 255, 257, 1025, 4097} <= positions
    assert {0, 1, 65537} <= {shape[0] for shape in shapes}
    assert {len(shape) for shape in shapes} >= {3, 4, 5}
    assert any(len(shape) == 2 for shape in shapes) is (name != "instance_norm")


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_last_and_every_convention_of_statistics_occur(name: str) -> None:
    found = corpus_of(name, 1)
    assert {case.layout for case in found} >= {"contiguous", "channels_last"}
    tracked = catalogue.find(name).tracks_statistics
    assert {case.mode for case in found} == ({"train", "eval"} if tracked else {"train"})
    assert {case.stats for case in found} == ({"tracked", "none"} if tracked else {"tracked"})
    assert {0.0, 1.0} <= {case.momentum for case in found} or not tracked


def test_groups_are_few_and_wide_many_and_narrow() -> None:
    per_group = {c.shape[1] // c.groups for c in corpus_of("group_norm", 2) if c.shape[1] > 2}
    groups = {case.groups for case in corpus_of("group_norm", 2)}
    assert min(per_group) == 2
    assert max(per_group) >= 32
    assert min(groups) == 1
    assert max(groups) >= 17


@ops
def test_absent_parameters_and_special_epsilons_occur_in_the_quick_corpus(name: str) -> None:
    found, op = corpus_of(name, 1), catalogue.find(name)
    for parameter in ("weight", "bias"):
        known = op.parameter(parameter)
        values = {"mixed", "none"} if known and known.optional else {"mixed"}
        assert {getattr(case, parameter) for case in found} == values
    assert {1.0, 0.01} <= {case.eps for case in found} or op.parameter("eps") is None


def test_what_an_op_has_no_meaning_for_is_left_out() -> None:
    flat = Case("instance_norm", "float32", (4, 6))
    assert fitted(flat, catalogue.find("instance_norm")) is None
    small = Case("l2_norm", "float32", (4, 6), dims=2, weight="none", mode="eval", eps=1e-6)
    assert fitted(small, catalogue.find("l2_norm")) == Case("l2_norm", "float32", (4, 6))
