import pytest

from normcheck.cases.corpus import corpus
from normcheck.cases.sweeps import FIRST_SEED, sweep
from normcheck.ops import catalogue


@pytest.mark.parametrize("op", catalogue.names())
def test_every_op_is_swept_and_every_case_is_marked(op: str) -> None:
    cases = list(sweep(catalogue.find(op), "float32"))
    assert len(cases) > 50
    assert all(case.seed >= FIRST_SEED for case in cases)
    assert len({case.id for case in cases}) == len(cases)


def test_rows_are_swept_over_every_small_width_and_every_block_edge() -> None:
    columns = {case.shape[-1] for case in sweep(catalogue.find("layer_norm"), "float32")}
    assert set(range(1, 131)) <= columns
    assert {size + shift for size in (256, 512, 4096, 16384) for shift in (-1, 0, 1)} <= columns
    assert {769, 1600, 2880, 5128} - {769} <= columns


def test_slices_are_swept_over_every_block_edge_too() -> None:
    for op in ("group_norm", "instance_norm", "batch_norm"):
        positions = {case.shape[-1] for case in sweep(catalogue.find(op), "float32")}
        assert {size + shift for size in (256, 4096, 16384) for shift in (-1, 0, 1)} <= positions


def test_sweeps_are_left_out_of_quick() -> None:
    op = catalogue.find("layer_norm")
    quick, standard = (corpus(op, "float32", depth) for depth in (1, 2))
    assert not any(case.seed >= FIRST_SEED for case in quick)
    assert sum(case.seed >= FIRST_SEED for case in standard) > 200
