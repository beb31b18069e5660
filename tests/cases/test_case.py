"""normcheck.cases.case: an id is the whole case."""

import re
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normcheck.cases.case import DTYPES, Case
from normcheck.errors import UsageError
from normcheck.ops import catalogue
from normcheck.properties.strategies import cases


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("name", catalogue.names())
def test_every_drawn_case_is_read_back_from_its_id(name: str, dtype: str) -> None:
    @settings(deadline=None, max_examples=25, database=None)
    @given(case=cases(catalogue.find(name), dtype, 1 << 14))
    def round_trip(case: Case) -> None:
        assert Case.parse(case.id) == case
        assert (case.op, case.dtype) == (name, dtype)
        # A flat case of instance_norm is given up to 64 positions; an odd number of rows that are
        # shared out over queries and keys is made even.
        added = 64 if name == "instance_norm" else 2 if catalogue.find(name).parts else 1
        assert case.elements <= (1 << 14) * added

    round_trip()


@settings(deadline=None)
@given(
    eps=st.none() | st.floats(0, 1e300),
    momentum=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(0, 10**9), min_size=1, max_size=6),
)
def test_every_number_is_read_back_exactly(
    eps: float | None, momentum: float, seed: int, shape: list[int]
) -> None:
    case = Case("batch_norm", "float32", tuple(shape), eps=eps, momentum=momentum, seed=seed)
    assert Case.parse(case.id) == case


def test_an_id_says_only_what_differs_from_the_defaults() -> None:
    case = Case("layer_norm", "bfloat16", (4, 4097), "offset1e3", eps=1e-12, seed=7)
    assert case.id == "nc1:layer_norm/bf16/4x4097/offset1e3/eps=1e-12/seed=7"
    assert Case("l2_norm", "float64", (3,)).id == "nc1:l2_norm/f64/3/plain"


def test_an_id_can_say_everything() -> None:
    text = (
        "nc1:batch_norm/f16/2x6x3x3/mix/dims=2/groups=3/mode=eval/stats=none/momentum=0.5"
        "/weight=none/bias=none/eps=0.001/layout=channels_last/seed=9"
    )
    case = Case.parse(text)
    assert case.id == text
    default = Case(case.op, case.dtype, case.shape, case.regime)
    changed = [
        f.name for f in fields(Case)[4:] if getattr(case, f.name) != getattr(default, f.name)
    ]
    assert changed == [field.name for field in fields(Case)[4:]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layer_norm/bf16/4x4/plain",
            "case is 'layer_norm/bf16/4x4/plain', but must begin with nc1:, as in "
            "nc1:layer_norm/bf16/4x4097/offset1e3",
        ),
        (
            "nc2:layer_norm/bf16/4x4/plain",
            "case is 'nc2:layer_norm/bf16/4x4/plain', but must begin with nc1:, as in "
            "nc1:layer_norm/bf16/4x4097/offset1e3",
        ),
        (
            "nc1:layer_norm/bf16/4x4",
            "case is 'nc1:layer_norm/bf16/4x4', but must be nc1:OP/DTYPE/SHAPE/REGIME",
        ),
        (
            "nc1:layernorm/bf16/4x4/plain",
            "op is 'layernorm', but must be an op of the catalogue; did you mean layer_norm?",
        ),
        (
            "nc1:layer_norm/bfloat16/4x4/plain",
            "dtype of case is 'bfloat16', but must be a short name; did you mean bf16?",
        ),
        (
            "nc1:layer_norm/int8/4x4/plain",
            "dtype of case is 'int8', but must be a short name; valid: f16, bf16, f32, f64",
        ),
        (
            "nc1:layer_norm/bf16/4,4/plain",
            "shape of case is '4,4', but must be sizes joined by x, as 4x4097",
        ),
        (
            "nc1:layer_norm/bf16/-4x4/plain",
            "shape of case is '-4x4', but must be sizes joined by x, as 4x4097",
        ),
        (
            "nc1:layer_norm/bf16/4x4/plain/sed=7",
            "setting of case is 'sed', but must be known; did you mean seed?",
        ),
        (
            "nc1:layer_norm/bf16/4x4/plain/layout=stride",
            "layout of case is 'stride', but must be known; did you mean strided?",
        ),
        (
            "nc1:layer_norm/bf16/4x4/plain/weight=",
            "weight of case is '', but must be known; valid: mixed, none",
        ),
        (
            "nc1:layer_norm/bf16/4x4/plain/seed=1.5",
            "seed of case is '1.5', but must be an integer",
        ),
        (
            "nc1:layer_norm/bf16/4x4/plain/eps=small",
            "eps of case is 'small', but must be a number",
        ),
    ],
    ids=lambda value: value if value.startswith(("nc", "layer")) else "",
)
def test_a_part_that_is_not_understood_is_named_with_its_rule(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        Case.parse(text)


@pytest.mark.parametrize("extra", ["eps=nan", "eps=-1.0", "eps=inf", f"seed={2**64}"])
def test_numbers_without_a_meaning_are_refused(extra: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{extra.partition('=')[0]} of case is")):
        Case.parse(f"nc1:layer_norm/f32/4x4/edge/{extra}")
