"""The planner is a pure function, and what sets a tree of additions follows from the shape."""

import pytest

from normcheck.kernels._plan import Plan, plan_parts, plan_rows, plan_sum

ALIGNED = [4096, 0]


def forward(rows: int, columns: int, itemsize: int = 2) -> Plan:
    return plan_rows(rows, columns, itemsize, [columns, 0], backward=False)


def backward(rows: int, columns: int, itemsize: int = 2) -> Plan:
    return plan_rows(rows, columns, itemsize, [columns, 0], backward=True)


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 64, 1000, 4096, 16384, 16385, 131072, 1 << 20])
def test_every_row_and_column_is_somebodys(columns: int) -> None:
    for rows in (1, 2, 31, 257, 65537):
        for plan in (forward(rows, columns), backward(rows, columns)):
            assert plan.block * plan.chunks >= columns > plan.block * (plan.chunks - 1)
            covered = plan.rows * plan.tiles
            assert covered * plan.programs >= rows > covered * (plan.programs - 1)


@pytest.mark.parametrize("columns", [2, 100, 4096, 16384, 50000])
def test_the_tree_of_a_row_does_not_depend_on_the_batch(columns: int) -> None:
    trees = {
        (plan.block, plan.chunks, plan.rows, plan.warps)
        for plan in (forward(rows, columns) for rows in (1, 3, 128, 100_000))
    }
    assert len(trees) == 1


def test_a_sum_over_rows_has_at_most_256_parts_and_a_shallow_tree() -> None:
    for rows in (1, 32, 64, 257, 4096, 1_000_000):
        for columns in (16, 1000, 4096):
            plan = backward(rows, columns)
            assert plan.programs <= 256
            depth = plan.tiles + plan.row_levels + plan_sum(plan.programs, columns, 4).row_levels
            # docs/budgets.md grants n/32 + 5 additions in a chain.
            assert depth <= max(rows / 32 + 5, 9)


@pytest.mark.parametrize(
    ("columns", "start", "vector"),
    [(4096, 0, 8), (1000, 0, 8), (1004, 0, 4), (4096, 4, 4), (1001, 0, 1), (1002, 0, 2)],
)
def test_a_vector_divides_what_it_is_loaded_from(columns: int, start: int, vector: int) -> None:
    assert plan_rows(8, columns, 2, [columns, start], backward=False).vector == vector


def test_long_rows_share_the_sums_over_rows_by_columns_too() -> None:
    plan = plan_parts(10_000, 50_000, 2, [50_000, 0])
    assert plan.programs <= 256
    assert plan.chunks * plan.block >= 50_000
