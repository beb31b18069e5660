"""normcheck.cases.shrink on failures that are known in closed form."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from normcheck.cases.case import Case
from normcheck.cases.corpus import expressible
from normcheck.cases.materialise import materialise
from normcheck.cases.shrink import MOST_TRIALS, Shrunk, shrink
from normcheck.ops import catalogue

START = Case.parse("nc1:layer_norm/bf16/33x1025/mix/eps=0.01/layout=strided/seed=12")
IMAGE = Case.parse("nc1:group_norm/f32/8x36x5x5/mix/groups=6/layout=channels_last/seed=4")
# The knobs that a report may name are at most nine.
MOST_CALLS = MOST_TRIALS + 9


def shrunk(start: Case, fails: Callable[[Case], bool | None]) -> Shrunk:
    """Shrink, and count."""
    calls: list[Case] = []

    def counted(case: Case) -> bool | None:
        calls.append(case)
        return fails(case)

    found = shrink(start, counted, fits=lambda case: case)
    assert len(calls) <= MOST_CALLS
    assert fails(found.case)
    assert not set(found.matters) & set(found.does_not_matter)
    return found


KNOWN: list[tuple[Callable[[Case], bool], str, set[str]]] = [
    (lambda c: c.shape[-1] >= 17, "1x17/plain/weight=none/bias=none", set()),
    (
        lambda c: c.regime.startswith("offset") or c.regime == "mix",
        "1x1/offset1e3/weight=none/bias=none",
        {"regime"},
    ),
    (lambda c: c.regime in ("mix", "zeros"), "1x1/zeros/weight=none/bias=none", {"regime"}),
    (lambda c: c.bias == "mixed", "1x1/plain/weight=none", {"bias"}),
    (lambda c: c.dtype == "bfloat16", "1x1/plain/weight=none/bias=none", {"dtype"}),
    (
        lambda c: c.shape[-1] >= 257 and c.weight == "mixed",
        "1x257/plain/bias=none",
        {"weight"},
    ),
    (lambda c: c.eps == 0.01, "1x1/plain/weight=none/bias=none/eps=0.01", {"eps"}),
    (lambda c: c.seed == 12, "1x1/plain/weight=none/bias=none/seed=12", {"seed"}),
    (
        lambda c: c.layout == "strided",
        "1x1/plain/weight=none/bias=none/layout=strided",
        set(),
    ),
    (lambda c: c.shape[0] >= 3, "3x1/plain/weight=none/bias=none", set()),
    (lambda c: True, "1x1/plain/weight=none/bias=none", set()),
]


@pytest.mark.parametrize(("fails", "minimal", "matters"), KNOWN, ids=[k[1] for k in KNOWN])
def test_the_smallest_recipe_is_found_with_what_it_depends_on(
    fails: Callable[[Case], bool], minimal: str, matters: set[str]
) -> None:
    found = shrunk(START, fails)
    assert found.case.id == f"nc1:layer_norm/bf16/{minimal}"
    assert matters <= set(found.matters) <= matters | {"rows", "columns"}
    knobs = {"dtype", "rows", "columns", "eps", "weight", "bias", "seed"}
    assert set(found.matters + found.does_not_matter) == knobs | (matters & {"regime"})


def test_settings_are_dropped_even_where_the_shape_takes_many_trials() -> None:
    found = shrunk(START, lambda case: case.shape[0] >= 20 and case.shape[-1] >= 100).case
    assert (found.layout, found.eps, found.weight, found.bias) == (
        "contiguous", None, "none", "none",
    )  # fmt: skip


def test_a_size_below_which_nothing_fails_matters() -> None:
    assert "columns" in shrunk(START, lambda case: case.shape[-1] >= 17).matters


def test_leading_dimensions_are_folded_and_channels_stay_divisible() -> None:
    deep = Case.parse("nc1:layer_norm/f32/3x4x5x64/mix/dims=2")
    assert shrunk(deep, lambda case: case.elements >= 17).case.shape == (1, 17)
    wide = shrunk(IMAGE, lambda case: case.shape[1] // case.groups >= 3).case
    assert (wide.shape, wide.layout) == ((1, 18, 1), "contiguous")


def test_samples_and_positions_are_the_words_for_channels() -> None:
    found = shrunk(IMAGE, lambda case: case.shape[0] == 1 or case.layout == "channels_last")
    assert found.matters == ("samples",)
    assert {"positions", "weight", "bias"} <= set(found.does_not_matter)


def test_an_op_without_parameters_has_none_that_matter() -> None:
    found = shrunk(Case.parse("nc1:l2_norm/f32/8x36/mix/seed=4"), lambda case: True)
    assert set(found.does_not_matter) == {"dtype", "rows", "columns", "eps", "seed"}


def test_what_cannot_be_judged_is_neither_a_failure_nor_named() -> None:
    found = shrunk(START, lambda case: None if case.dtype != "bfloat16" else case.seed == 12)
    assert "dtype" not in found.matters + found.does_not_matter
    none = shrunk(START, lambda case: True if case == START else None)
    assert none == Shrunk(START, (), ())


def test_what_the_target_cannot_express_is_never_tried() -> None:
    tried: list[Case] = []

    def fails(case: Case) -> bool:
        tried.append(case)
        return True

    found = shrink(START, fails, fits=lambda case: replace(case, weight="mixed", eps=0.01))
    assert {(case.weight, case.eps) for case in tried} == {("mixed", 0.01)}
    assert found.case.id == "nc1:layer_norm/bf16/1x1/plain/bias=none/eps=0.01"
    assert not {"weight", "eps"} & {*found.matters, *found.does_not_matter}


@pytest.mark.parametrize("name", catalogue.names())
def test_shrinking_keeps_to_shapes_with_a_meaning(name: str) -> None:
    op = catalogue.find(name)
    groups = 4 if op.parameter("num_groups") or op.parameter("group_size") else 1
    start = expressible(Case(name, "float32", (6, 8, 5, 4), "mix", groups=groups), op)
    assert start is not None

    def fails(case: Case) -> bool:
        assert case.elements
        assert len(case.shape) >= 2
        materialise(case)  # raises where the op has no meaning for it
        return len(case.shape) == len(start.shape) or case.elements >= 60

    assert shrink(start, fails, fits=lambda case: case).case.elements < start.elements


SMALLEST = {
    "qk_norm": "2x1x1x1x1/plain/weight=none",
    "qk_layer_norm": "2x1x1x1x1/plain/weight=none/bias=none",
    "ada_layer_norm": "1x1x1/plain",
    "masked_batch_norm": "1x1x1/plain/weight=none/bias=none",
    "rms_norm_gated": "1x1/plain/weight=none",
    "weight_norm": "1x1/plain",
}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_case_of_an_op_keeps_what_the_op_cannot_do_without(name: str) -> None:
    op = catalogue.find(name)
    start = expressible(Case(name, "float32", (6, 8, 5, 4), "mix", seed=3), op)
    assert start is not None
    found = shrunk(start, lambda case: True).case
    assert found.id == f"nc1:{name}/f32/{SMALLEST[name]}"


def test_a_gated_norm_is_tried_with_one_group() -> None:
    start = Case.parse("nc1:rms_norm_gated/f32/9x24/mix/groups=4")
    assert shrunk(start, lambda case: True).case.groups == 1
    kept = shrunk(start, lambda case: case.groups > 1).case
    assert (kept.groups, kept.shape) == (4, (1, 4))


def test_rows_of_queries_and_keys_can_matter() -> None:
    start = Case.parse("nc1:qk_norm/f32/2x2x6x4x8/mix")
    found = shrunk(start, lambda case: case.elements >= 2 * 8 * 3)
    assert found.case.shape[0] == 2
    assert "rows" in found.matters
    assert "columns" in found.matters


def test_a_direction_is_folded_behind_its_first_dimension() -> None:
    start = Case.parse("nc1:weight_norm/f32/6x3x4x5/mix")
    found = shrunk(start, lambda case: case.shape[0] >= 2 and case.elements // case.shape[0] >= 17)
    assert found.case.shape == (2, 17)
