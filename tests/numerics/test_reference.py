"""normcheck.numerics.reference against Arb: balls that contain the exact result, with jets.

Forward quantities are the textbook formulas, evaluated in 400 bits. The gradient is not a formula
at all here: the loss is evaluated on power series x + t e_j, and the coefficient of t is dx_j.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from flint import arb, arb_series, ctx
from torch import Tensor

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.reduction import EpsPlace, Formula, Reduction
from normcheck.numerics.reference import Forward, Gradients, differentiate, normalise

BITS = 400
COLUMNS = 7
# Roundoff of the two arithmetics: 2**-53, and at most 9 * 2**-106 per operation.
UNITS = {"float64": 2.0**-53, "double_double": 2.0**-102}
# Longest chain of roundings: two sums of 7 with a quotient for the mean, one for the variance, a
# root, a reciprocal, three products and two sums; each enters at most twice.
ROUNDINGS = 64


@dataclass(frozen=True)
class Case:
    centred: bool = True
    summed: bool = False
    formula: Formula = Formula(1e-5)  # noqa: RUF009
    affine: bool = False
    fixed: tuple[float, float] | None = None
    scale: float = 1.0
    offset: float = 0.0

    @property
    def reduction(self) -> Reduction:
        return Reduction((3, COLUMNS), (1,), (1, COLUMNS), self.centred, self.summed)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, dy, weight, bias."""
        generator = torch.Generator().manual_seed(20)
        x, dy = torch.randn(2, 3, COLUMNS, dtype=torch.float64, generator=generator)
        weight, bias = torch.randn(2, 1, COLUMNS, dtype=torch.float64, generator=generator)
        return x * self.scale + self.offset, dy, weight, bias

    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Return the fixed mean and variance."""
        if self.fixed is None:
            return None
        mean, variance = torch.tensor(self.fixed, dtype=torch.float64)
        return mean.reshape(1, 1), variance.reshape(1, 1)


INSIDE = EpsPlace.INSIDE
CASES = {
    "layer_norm": Case(),
    "affine": Case(affine=True),
    "rms_norm": Case(centred=False, affine=True),
    "one_plus_weight": Case(centred=False, affine=True, formula=Formula(1e-6, INSIDE, 1.0)),
    "no_eps": Case(formula=Formula(0.0)),
    "outside": Case(formula=Formula(1e-3, EpsPlace.OUTSIDE), affine=True),
    "outside_rms": Case(centred=False, formula=Formula(0.5, EpsPlace.OUTSIDE)),
    "l2_norm": Case(centred=False, summed=True, formula=Formula(1e-12, EpsPlace.FLOOR)),
    "below_the_floor": Case(centred=False, summed=True, formula=Formula(9.0, EpsPlace.FLOOR)),
    "evaluation": Case(affine=True, fixed=(0.3, 1.7)),
    "offset": Case(affine=True, offset=1e4),
    "small": Case(affine=True, scale=1e-6),
    "large": Case(scale=1e8),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
arithmetics = pytest.mark.parametrize("arithmetic", UNITS)


@pytest.fixture(autouse=True)
def _many_bits() -> Iterator[None]:
    before = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = BITS, 2
    yield
    ctx.prec, ctx.cap = before


def lift(t: Tensor) -> DoubleDouble:
    return DoubleDouble.of(t)


def forward_and_gradients(
    case: Case, arithmetic: str
) -> tuple[Forward[Tensor] | Forward[DoubleDouble], Gradients[Tensor] | Gradients[DoubleDouble]]:
    x, dy, w, b = case.tensors()
    red, formula, statistics = case.reduction, case.formula, case.statistics()
    weight, bias = (w, b) if case.affine else (None, None)
    if arithmetic == "float64":
        forward = normalise(x, red, formula, weight, bias, statistics)
        return forward, differentiate(forward, dy, red, formula, weight)
    wide = None if statistics is None else (lift(statistics[0]), lift(statistics[1]))
    factor, shift = (lift(w), lift(b)) if case.affine else (None, None)
    precise = normalise(lift(x), red, formula, factor, shift, wide)
    return precise, differentiate(precise, lift(dy), red, formula, factor)


def row_of(case: Case, x: list[arb_series]) -> dict[str, list[arb_series]]:
    """Return the textbook quantities of one row, as power series in t."""
    n, zero, eps = len(x), arb_series([0]), arb(case.formula.eps)
    if case.fixed is not None:
        mean, variance = arb_series([arb(case.fixed[0])]), arb_series([arb(case.fixed[1])])
    else:
        mean = sum(x, zero) / n if case.centred else zero
        variance = sum(((v - mean) * (v - mean) for v in x), zero)
        variance = variance if case.summed else variance / n
    if case.formula.eps_place is EpsPlace.INSIDE:
        denominator = (variance + eps).sqrt()
    elif case.formula.eps_place is EpsPlace.OUTSIDE:
        denominator = variance.sqrt() + eps
    else:
        norm = variance.sqrt()
        denominator = norm if norm[0] > eps else arb_series([eps])
    normalised = [(v - mean) / denominator for v in x]
    return {
        "mean": [mean],
        "variance": [variance],
        "root": [arb_series([1]) / denominator],
        "normalised": normalised,
        "output": with_affine(case, normalised),
    }


def with_affine(case: Case, normalised: list[arb_series]) -> list[arb_series]:
    if not case.affine:
        return normalised
    _, _, w, b = (t.reshape(-1).tolist() for t in case.tensors())
    factors = [arb(v) + arb(case.formula.weight_offset) for v in w]
    return [v * f + arb(s) for v, f, s in zip(normalised, factors, b, strict=True)]


def row_dx(case: Case, row: int) -> list[arb]:
    """Return the coefficients of t in the loss at x + t e_j, for each j."""
    x, dy, _, _ = (t.tolist() for t in case.tensors())
    derivative = []
    for j in range(COLUMNS):
        moved = [arb_series([arb(v), int(i == j)]) for i, v in enumerate(x[row])]
        outputs = row_of(case, moved)["output"]
        terms = (arb(g) * y for g, y in zip(dy[row], outputs, strict=True))
        derivative.append(sum(terms, arb_series([0]))[1])
    return derivative


def constants(x: list[float]) -> list[arb_series]:
    return [arb_series([arb(v)]) for v in x]


def parts(value: Tensor | DoubleDouble, row: int) -> list[arb]:
    """Return one row of a result exactly."""
    wide = value if isinstance(value, DoubleDouble) else DoubleDouble.of(value)
    row = row if wide.hi.shape[0] > 1 else 0
    pairs = zip(wide.hi[row].tolist(), wide.lo[row].tolist(), strict=True)
    return [arb(hi) + arb(lo) for hi, lo in pairs]


def assert_within(computed: list[arb], balls: list[arb], tolerance: float) -> None:
    for value, ball in zip(computed, balls, strict=True):
        assert ball.is_finite()
        error = abs(value - ball)
        assert error <= tolerance, f"{float(error.upper()):.3g} above {tolerance:.3g}"


@dataclass(frozen=True)
class Scale:
    """Sizes that turn unit roundoffs into error bounds, of one row."""

    x: float
    variance: float
    root: float
    gain: float

    @classmethod
    def of(cls, case: Case, row: int) -> "Scale":
        x, _, w, b = case.tensors()
        exact = row_of(case, constants(x[row].tolist()))
        gain = 1.0
        if case.affine:
            gain += float(w.abs().max()) + case.formula.weight_offset + float(b.abs().max())
        variance, root = (float(exact[name][0][0]) for name in ("variance", "root"))
        return cls(float(x.abs().max()), variance, root, gain)

    @property
    def normalised(self) -> float:
        """Centring is off by u |x|, through root and variance times |x^| <= sqrt(n)."""
        return (1.0 + self.x * self.root) * math.sqrt(COLUMNS)

    @property
    def squares(self) -> float:
        """A sum of squares of deviations that are each off by u |x|."""
        return COLUMNS * (self.variance + self.x * math.sqrt(self.variance))


@arithmetics
@cases
def test_forward_quantities_are_in_the_enclosures(case: Case, arithmetic: str) -> None:
    forward, _ = forward_and_gradients(case, arithmetic)
    for row, x in enumerate(case.tensors()[0].tolist()):
        scale = Scale.of(case, row)
        sizes = {
            "mean": scale.x,
            "variance": scale.squares,
            "root": scale.root * scale.normalised,
            "normalised": scale.normalised,
            "output": scale.normalised * scale.gain,
        }
        for name, series in row_of(case, constants(x)).items():
            balls = [value[0] for value in series]
            tolerance = ROUNDINGS * UNITS[arithmetic] * sizes[name]
            assert_within(parts(getattr(forward, name), row), balls, tolerance)


@arithmetics
@cases
def test_the_input_gradient_is_in_the_enclosure_of_the_jet(case: Case, arithmetic: str) -> None:
    _, gradients = forward_and_gradients(case, arithmetic)
    for row in range(3):
        scale = Scale.of(case, row)
        # g - mean g - s x^ mean(g x^), with |x^|**2 <= n, and s <= (sqrt v + eps) / sqrt v.
        stretch = 1.0 + case.formula.eps / math.sqrt(scale.variance)
        size = float(case.tensors()[1].abs().max()) * scale.gain * (2 + COLUMNS * stretch)
        tolerance = ROUNDINGS * UNITS[arithmetic] * scale.root * scale.normalised * size
        assert_within(parts(gradients.x, row), row_dx(case, row), tolerance)


@arithmetics
@cases
def test_weight_terms_are_in_the_enclosures(case: Case, arithmetic: str) -> None:
    _, gradients = forward_and_gradients(case, arithmetic)
    x, dy, _, _ = (t.tolist() for t in case.tensors())
    for row in range(3):
        normalised = row_of(case, constants(x[row]))["normalised"]
        balls = [arb(g) * v[0] for g, v in zip(dy[row], normalised, strict=True)]
        size = max(map(abs, dy[row])) * Scale.of(case, row).normalised
        tolerance = ROUNDINGS * UNITS[arithmetic] * size
        assert_within(parts(gradients.weight_terms, row), balls, tolerance)


@pytest.mark.parametrize("value", [0.1, 1e4 / 3, -7e-8], ids=str)
def test_a_constant_row_has_no_variance_in_double_double(value: float) -> None:
    x = lift(torch.full((1, COLUMNS), value, dtype=torch.float64))
    forward = normalise(x, Reduction((1, COLUMNS), (1,), (), True), Formula(1e-5))
    assert forward.variance.double().item() <= (2.0**-103 * value) ** 2


def test_the_mean_is_refined_to_its_last_place_in_float64() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(16, 999, dtype=torch.float64, generator=generator) + 1e6 / 3
    forward = normalise(x, Reduction((16, 999), (1,), (), True), Formula(1e-5))
    for row, mean in zip(x.tolist(), forward.mean.flatten().tolist(), strict=True):
        exact = sum(map(Fraction, row), Fraction(0)) / len(row)
        # The last addition is rounded, and the correction is exact to far less than its ulp.
        assert abs((Fraction(mean) - exact) / Fraction(math.ulp(mean))) <= Fraction(9, 16)
