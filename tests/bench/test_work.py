"""Bytes that have to be moved, against a calculation by hand."""

from __future__ import annotations

import pytest

from normcheck.bench.document import Direction
from normcheck.bench.work import least_bytes, plain_case, shape_of
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.ops import catalogue
from normcheck.policy import Policy


@pytest.mark.parametrize(
    ("case", "policies", "forward", "backward"),
    [
        # Forward x, weight, y; backward x, weight, dy, dx, dweight. Rows of 32 bytes.
        ("nc1:rms_norm/f32/4x8/plain", [], 128 + 32 + 128, 128 + 32 + 3 * 128 - 128 + 32),
        # No gradient depends on the bias; it has one.
        ("nc1:layer_norm/bf16/4x8/plain", [], 64 + 16 + 16 + 64, 3 * 64 + 3 * 16),
        # Outputs of four bytes, and so dy.
        (
            "nc1:layer_norm/bf16/4x8/plain", ["output=float32"],
            64 + 16 + 16 + 128, 2 * 64 + 128 + 3 * 16,
        ),
        # x, residual, weight, y and their sum; the sum, weight, both dy, one dx and dweight.
        ("nc1:add_rms_norm/f32/4x8/plain", [], 4 * 128 + 32, 4 * 128 + 2 * 32),
        # x, y, weight, bias, and running statistics read and written; backward needs none of them.
        ("nc1:batch_norm/f32/2x3x4/plain", [], 2 * 96 + 6 * 12, 3 * 96 + 3 * 12),
        ("nc1:l2_norm/f64/4x8/plain", [], 2 * 256, 3 * 256),
    ],
)  # fmt: skip
def test_bytes_by_hand(case: str, policies: list[str], forward: int, backward: int) -> None:
    inputs, policy = materialise(Case.parse(case)), Policy.parse(policies)
    assert least_bytes(inputs, Direction.FORWARD, policy) == forward
    assert least_bytes(inputs, Direction.BACKWARD, policy) == backward


@pytest.mark.parametrize(
    ("op", "rows", "case"),
    [
        ("rms_norm", None, "nc1:rms_norm/f32/1024x7/plain"),
        ("rms_norm", 3, "nc1:rms_norm/f32/3x7/plain"),
        ("batch_norm", None, "nc1:batch_norm/f32/16x64x7x7/plain"),
        ("group_norm", 2, "nc1:group_norm/f32/2x64x7x7/plain/groups=32"),
        ("masked_batch_norm", 2, "nc1:masked_batch_norm/f32/2x64x49/plain"),
        ("qk_norm", 8, "nc1:qk_norm/f32/2x1x1x4x7/plain"),
    ],
)  # fmt: skip
def test_a_size_is_columns_or_positions(op: str, rows: int | None, case: str) -> None:
    found = catalogue.find(op)
    assert plain_case(found, "float32", shape_of(found, 7, rows)).id == case


@pytest.mark.parametrize("op", catalogue.names())
def test_every_op_has_inputs_to_be_timed_on(op: str) -> None:
    found = catalogue.find(op)
    inputs = materialise(plain_case(found, "float32", shape_of(found, 4, 4)))
    for direction in Direction:
        assert least_bytes(inputs, direction, Policy()) > 0
