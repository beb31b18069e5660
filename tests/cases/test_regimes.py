"""normcheck.cases.regimes: every regime gives the values that its summary promises."""

import math
import re

import pytest
import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.cases.regimes import MIXES, REGIMES, edge_value, mix, parse
from normcheck.errors import UsageError
from normcheck.numerics.formats import BY_NAME, FloatFormat

SLICES, N = 8, 4096
# Six standard errors of a mean of N unit-variance numbers.
SIX = 6 / math.sqrt(N)

dtypes = pytest.mark.parametrize("dtype", BY_NAME)


def values(token: str, dtype: str = "float64", eps: float | None = None, n: int = N) -> Tensor:
    """Return (slices, n) values of one regime, float64."""
    return materialise(Case("layer_norm", dtype, (SLICES, n), token, eps=eps)).tensors["x"].double()


@pytest.mark.parametrize(
    ("token", "mean", "deviation"),
    [
        ("plain", 0.75, 1.5),
        ("offset3", 3.0, 1.0),
        ("offset1e3", 1000.0, 1.0),
        ("offset1e5", 1e5, 1.0),
        ("narrow0.001", 1.0, 0.001),
        ("vareps1", 0.0, math.sqrt(1e-5)),
        ("vareps0.01", 0.0, math.sqrt(1e-7)),
        ("scale300", 0.0, 300.0),
        ("scale1e-20", 0.0, 1e-20),
        ("padrow1e3", 0.0, 1000.0),
        ("positive", 1 + 0.8, 0.6),
    ],
)
def test_mean_and_deviation_are_those_promised(token: str, mean: float, deviation: float) -> None:
    x = values(token)
    # |bell| has mean and deviation 0.803 and 0.596: the one entry above that is rounded.
    slack = SIX + (0.01 if token == "positive" else 0.0)
    assert (x.mean(1) - mean).abs().max() <= slack * deviation
    assert (x.std(1) - deviation).abs().max() <= slack * deviation


@pytest.mark.parametrize("eps", [1e-12, 1e-3, 1.0], ids=str)
def test_the_variance_follows_epsilon(eps: float) -> None:
    assert (values("vareps100", eps=eps).var(1) / (100 * eps) - 1).abs().max() <= 2 * SIX
    assert values("vareps1", eps=0.0).var(1).min() > 0


@pytest.mark.parametrize(("token", "value"), [("const0.1", 0.1), ("const1e4", 1e4), ("zeros", 0.0)])
@dtypes
def test_constants_are_equal_everywhere(token: str, value: float, dtype: str) -> None:
    stored = torch.tensor(value, dtype=torch.float64).float().to(BY_NAME[dtype]).double()
    expected = value if dtype == "float64" else stored
    assert values(token, dtype).eq(expected).all()


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("outlier100", 100.0),
        ("outlier1e4", 1e4),
        ("nan", math.nan),
        ("inf", math.inf),
        ("neginf", -math.inf),
        ("edge", edge_value(FloatFormat.of(torch.float64), N)),
    ],
)
def test_exactly_one_element_of_a_slice_stands_out(token: str, value: float) -> None:
    x, plain = values(token), values("plain")
    changed = (x != plain).nonzero()
    assert changed[:, 0].tolist() == list(range(SLICES))
    assert len(set(changed[:, 1].tolist())) > SLICES // 2
    assert all(str(v) == str(value) for v in x[x != plain].tolist())


@dtypes
def test_the_square_of_the_edge_value_is_just_inside_what_is_judged(dtype: str) -> None:
    fmt = FloatFormat.of(BY_NAME[dtype])
    largest = values("edge", dtype).abs().max().item()
    limit = min(fmt.largest, math.sqrt(fmt.accumulation.square_limit / N))
    assert limit / 32 <= largest <= limit


def test_one_column_is_scaled_in_every_slice() -> None:
    ratio = values("channel1e3") / values("plain")
    assert ratio[:, N // 3].sub(1e3).abs().max() <= 1e-9
    assert ratio.ne(1).sum() == SLICES


def test_heavy_tails_are_powers_of_two_and_halve_with_each_doubling() -> None:
    x, z = values("heavy", n=1 << 15), values("scale1", n=1 << 15)
    assert x[z == 0].eq(0).all()
    factor = x[z != 0] / z[z != 0]
    assert torch.frexp(factor).mantissa.eq(0.5).all()
    for bit in range(6):
        share = (factor >= 2**bit).double().mean().item()
        assert abs(share / 2.0**-bit - 1) <= 6 * math.sqrt(2**bit / x.numel())
    assert factor.max() <= 2**12


def test_signs_alternate_and_steps_are_equal() -> None:
    x = values("alternating")
    assert x[:, ::2].min() > 2
    assert x[:, 1::2].max() < -2
    assert values("positive").min() >= 1
    steps = values("ramp").diff(dim=1)
    assert values("ramp")[:, 0].eq(1).all()
    assert steps.eq(4 / N).all()


@pytest.mark.parametrize(("token", "value"), [("padtail0", 0.0), ("padtail1e3", 1e3)])
@pytest.mark.parametrize("n", [3, 4, 64, 1023], ids=str)
def test_the_last_quarter_is_padding(token: str, value: float, n: int) -> None:
    x, plain = values(token, n=n), values("plain", n=n)
    assert x[:, : n - n // 4].eq(plain[:, : n - n // 4]).all()
    assert x[:, n - n // 4 :].eq(value).all()


@dtypes
def test_most_subnormal_values_are_and_none_is_far_from_it(dtype: str) -> None:
    smallest = FloatFormat.of(BY_NAME[dtype]).smallest_normal
    x = values("subnormal", dtype).abs() / smallest
    # A bell-shaped number is below one in size with probability 0.67.
    assert 0.6 <= x.lt(1).double().mean() <= 0.75
    assert x.max() <= 3.5
    assert x[x > 0].min() < 0.01


TOKENS = sorted(
    {token for tokens in MIXES.values() for token in tokens}
    | {name for name, regime in REGIMES.items() if not regime.strength}
)


@dtypes
@pytest.mark.parametrize("token", TOKENS)
def test_finite_regimes_are_finite_and_others_are_not(token: str, dtype: str) -> None:
    # Strengths beyond the format are clamped to its largest number.
    finite = values(token, dtype, n=33).isfinite()
    assert bool(finite.all()) is REGIMES[parse(token)[0].name].finite
    assert finite.sum() >= SLICES * 32


@dtypes
@pytest.mark.parametrize("name", MIXES)
def test_a_mix_gives_each_slice_one_regime_and_rotates_with_the_seed(name: str, dtype: str) -> None:
    tokens = mix(name, FloatFormat.of(BY_NAME[dtype]))
    rows = 2 * len(tokens) + 1
    for seed in (0, 1, 5):
        case = Case("layer_norm", dtype, (rows, 37), name, seed=seed)
        x = materialise(case).tensors["x"].double()
        for index in range(rows):
            token = tokens[(index + seed) % len(tokens)]
            assert bool(x[index].isfinite().all()) is parse(token)[0].finite
            if token == "zeros" or token.startswith("const"):
                assert x[index].eq(values(token, dtype, n=1)[0, 0]).all()
            if token in ("plain", "alternating", "ramp", "outlier100", "positive"):
                assert x[index].amin() < x[index].amax()


@pytest.mark.parametrize(
    ("op", "shape", "axes"),
    [
        ("batch_norm", (3, 40, 5), (0, 2)),
        ("instance_norm", (2, 20, 9), (2,)),
        ("group_norm", (20, 4, 6), (1, 2)),
        ("layer_norm", (40, 2, 5), (1, 2)),
    ],
)
def test_a_regime_belongs_to_a_slice_of_the_op(
    op: str, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    x = materialise(Case(op, "float32", shape, "mix", dims=2)).tensors["x"]
    constant = x.amax(axes) == x.amin(axes)
    tokens = mix("mix", FloatFormat.of(torch.float32))
    flat = [
        "const" in (t := tokens[i % len(tokens)]) or t == "zeros" for i in range(constant.numel())
    ]
    assert constant.flatten().tolist() == flat


def test_a_mix_leaves_out_what_a_format_cannot_hold() -> None:
    half, single = (mix("mix", FloatFormat.of(d)) for d in (torch.float16, torch.float32))
    assert set(single) - set(half) == {
        "outlier1e4", "offset1e4", "const1e4", "scale1e4", "scale1e10", "offset1e5", "scale1e15",
    }  # fmt: skip
    assert [token for token in single if token in half] == list(half)
    assert mix("offset7", FloatFormat.of(torch.float16)) == ("offset7",)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("ofset1e3", "regime is 'ofset1e3', but must be known; did you mean offset?"),
        ("mixx", "regime is 'mixx', but must be known; did you mean mix?"),
        ("offset", "regime is 'offset', but must carry a number, as offset1e3"),
        ("zeros1", "regime is 'zeros1', but must be just zeros"),
        ("offset1e", "strength of regime is '1e', but must be a finite number"),
    ],
)
def test_a_regime_that_is_not_understood_is_named_with_its_rule(token: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        parse(token)


def test_every_token_of_a_mix_is_a_regime_and_no_mix_has_a_regime_s_name() -> None:
    assert {parse(token)[0].name for tokens in MIXES.values() for token in tokens} == set(REGIMES)
    assert not set(MIXES) & set(REGIMES)


def test_a_strength_beyond_every_format_is_refused() -> None:
    with pytest.raises(UsageError, match="strength of regime is '1e999'"):
        parse("const1e999")
