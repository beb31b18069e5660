"""normcheck.numerics.budget against the table of its rules, evaluated row by row in plain Python.

u is the unit roundoff and k the depth of a sum; the numbers of roundings are those of Higham,
"Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1, and of Chan, Golub, LeVeque,
"Algorithms for computing the sample variance", 1983.
"""

import math
from dataclasses import dataclass
from statistics import fmean

import pytest
import torch
from torch import Tensor

from normcheck.numerics.budget import backward_budget, forward_budget
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import Formula, Reduction
from normcheck.numerics.reference import differentiate, normalise

FLOAT32 = FloatFormat.of(torch.float32)
U = 2.0**-24
EPS = 1e-5
ROUNDINGS_OF_THE_TEST = 2.0**-30  # float64 on either side; underflow adds at most 2**-140

centrings = pytest.mark.parametrize("centred", [True, False], ids=["centred", "uncentred"])
offsets = pytest.mark.parametrize("offset", [0.0, 3.0, 1e3], ids=str)
lengths = pytest.mark.parametrize("n", [2, 7, 64, 1000], ids=str)


@dataclass
class Row:
    """The exact quantities of one row, and the rules of the table."""

    x: list[float]
    centred: bool
    k: int

    def __post_init__(self) -> None:
        self.mean = math.fsum(self.x) / len(self.x) if self.centred else 0.0
        self.c = [v - self.mean for v in self.x]
        self.v = fmean(c * c for c in self.c)
        self.square = fmean(v * v for v in self.x)
        self.r = 1.0 / math.sqrt(self.v + EPS)
        self.x_hat = [c * self.r for c in self.c]
        self.d = (self.k + 1) * U * fmean(map(abs, self.x)) if self.centred else 0.0

    @property
    def dv(self) -> float:
        if not self.centred:
            return (self.k + 4) * U * self.v
        kappa = math.sqrt(self.square / self.v)
        grown = min(self.v * (1.0 + kappa), self.square)
        return (self.k + 4) * U * grown + self.d**2

    @property
    def dr(self) -> float:
        return 1.0 / math.sqrt(self.v - self.dv + EPS) - self.r + 4 * U * self.r

    @property
    def errors(self) -> list[float]:
        """Return the budgets of c r, before its rounding."""
        pairs = zip(self.x, self.c, strict=True)
        return [
            (self.r + self.dr) * (self.d + 3 * U * (abs(x) + abs(self.mean))) + abs(c) * self.dr
            for x, c in pairs
        ]

    def output(self, weight: list[float], bias: list[float]) -> list[float]:
        terms = zip(self.errors, self.x_hat, weight, bias, strict=True)
        return [abs(w) * e + 3 * U * (abs(h * w) + abs(b)) for e, h, w, b in terms]

    def dx(self, g: list[float]) -> list[float]:
        e = [v + 2 * U * abs(h) for v, h in zip(self.errors, self.x_hat, strict=True)]
        size = [abs(v) for v in g]
        mg, e_mg = 0.0, 0.0
        if self.centred:
            mg, e_mg = fmean(g), (self.k + 2) * U * fmean(size)
        products = [a * b for a, b in zip(g, self.x_hat, strict=True)]
        mgx = fmean(products)
        e_mgx = (self.k + 3) * U * fmean(map(abs, products))
        e_mgx += fmean(a * b for a, b in zip(size, e, strict=True))
        found = []
        for gi, h, eh in zip(g, self.x_hat, e, strict=True):
            inner = gi - mg - h * mgx
            off = 2 * U * abs(gi) + e_mg + abs(h) * e_mgx + eh * (abs(mgx) + e_mgx)
            off += 3 * U * abs(h * mgx) + 2 * U * abs(mg)
            found.append((self.r + self.dr) * off + (self.dr + 4 * U * self.r) * abs(inner))
        return found


def noise(rows: int, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, n, dtype=torch.float64, generator=generator)


def assert_equal(computed: Tensor, rows: list[list[float]]) -> None:
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(
        computed.expand(expected.shape), expected, rtol=ROUNDINGS_OF_THE_TEST, atol=2.0**-130
    )


@centrings
@offsets
@lengths
def test_forward_budgets_are_those_of_the_table(centred: bool, offset: float, n: int) -> None:
    x, weight, bias = noise(3, n, 1) + offset, noise(1, n, 2), noise(1, n, 3)
    red, formula = Reduction((3, n), (1,), (1, n), centred), Formula(EPS)
    forward = normalise(x, red, formula, weight, bias)
    budget = forward_budget(forward, red, formula, FLOAT32, weight, bias)
    rows = [Row(row, centred, formula.depth(n)) for row in x.tolist()]
    assert_equal(budget.mean, [[row.d] for row in rows])
    assert_equal(budget.variance, [[row.dv] for row in rows])
    assert_equal(budget.root, [[row.dr] for row in rows])
    assert_equal(budget.output, [row.output(weight[0].tolist(), bias[0].tolist()) for row in rows])


@centrings
@offsets
@lengths
def test_gradient_budgets_are_those_of_the_table(centred: bool, offset: float, n: int) -> None:
    x, weight, dy = noise(3, n, 1) + offset, noise(1, n, 2), noise(3, n, 4)
    red, formula = Reduction((3, n), (1,), (1, n), centred), Formula(EPS)
    forward = normalise(x, red, formula, weight)
    gradients = differentiate(forward, dy, red, formula, weight)
    budget = forward_budget(forward, red, formula, FLOAT32, weight)
    found = backward_budget(forward, gradients, budget, dy, red, formula, FLOAT32)
    rows = [Row(row, centred, formula.depth(n)) for row in x.tolist()]
    scaled = (dy * weight).tolist()
    assert_equal(found.x, [row.dx(g) for row, g in zip(rows, scaled, strict=True)])


def test_one_plus_weight_and_underflow_only_ever_add() -> None:
    x, weight = noise(2, 7, 1), noise(1, 7, 2)
    red = Reduction((2, 7), (1,), (1, 7), centred=False)
    normalised, outputs = torch.empty(()), []
    for offset, shifted in ((0.0, weight), (1.0, weight - 1.0)):
        formula = Formula(EPS, weight_offset=offset)
        forward = normalise(x, red, formula, shifted)
        normalised = forward.normalised
        outputs.append(forward_budget(forward, red, formula, FLOAT32, shifted).output)
    extra = U * (normalised * weight).abs()
    torch.testing.assert_close(outputs[1], outputs[0] + extra, rtol=2.0**-40, atol=2.0**-130)
