"""Gated norms of float64 inputs against Arb: outputs, and gradients as power series.

The gradient is no formula here: y is evaluated on x + t e_j and z + t e_j, and the coefficient of t
of sum(dy y) is the gradient.
"""

from collections.abc import Iterator

import pytest
import torch
from flint import arb, arb_series, ctx
from torch import Tensor

from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.gate_gradients import gate_gradients
from normcheck.numerics.input_gradients import Entering, input_gradients
from normcheck.numerics.problem import Problem
from normcheck.numerics.reading import Reading
from normcheck.numerics.reduction import Formula, Reduction

FLOAT64 = FloatFormat.of(torch.float64)
EPS, COLUMNS = 1e-3, 5
firsts = pytest.mark.parametrize("first", [False, True], ids=["after", "before"])


@pytest.fixture(autouse=True)
def _many_bits() -> Iterator[None]:
    before = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = 400, 2
    yield
    ctx.prec, ctx.cap = before


def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, z, dy, weight."""
    generator = torch.Generator().manual_seed(7)
    x, z, dy = torch.randn(3, 2, COLUMNS, dtype=torch.float64, generator=generator)
    weight = torch.randn(1, COLUMNS, dtype=torch.float64, generator=generator)
    return x, 4.0 * z, dy, weight


def piece_of(first: bool) -> tuple[ExactPiece, Tensor]:
    x, z, dy, weight = drawn()
    reduction = Reduction((2, COLUMNS), (1,), (1, COLUMNS), centred=False)
    problem = Problem(reduction, Formula(EPS), x, FLOAT64, weight=weight, gate=z, gate_first=first)
    (piece,) = reduction.pieces(1 << 10)
    return ExactPiece.of(problem, piece, FLOAT64, rounded=False), dy


def row(
    x: list[arb_series], z: list[arb_series], weight: list[float], first: bool
) -> list[arb_series]:
    gates = [v / (1 + (-v).exp()) for v in z]
    inner = [v * s for v, s in zip(x, gates, strict=True)] if first else x
    square = sum((v * v for v in inner), arb_series([0])) / len(inner)
    root = (square + arb(EPS)).sqrt()
    normalised = [v / root * arb(w) for v, w in zip(inner, weight, strict=True)]
    return normalised if first else [v * s for v, s in zip(normalised, gates, strict=True)]


def series(first: bool, index: int, moved: tuple[str, int] | None) -> list[arb_series]:
    """Return the outputs of one row, with one element of x or z moved by t."""
    x, z, _, weight = drawn()
    rows = {
        name: [
            arb_series([arb(v), 1 if moved == (name, j) else 0])
            for j, v in enumerate(tensor[index].tolist())
        ]
        for name, tensor in (("x", x), ("z", z))
    }
    return row(rows["x"], rows["z"], weight[0].tolist(), first)


def assert_exact(found: Tensor | DoubleDouble, at: tuple[int, int], expected: arb) -> None:
    assert isinstance(found, DoubleDouble)
    value = arb(found.hi[at].item()) + arb(found.lo[at].item())
    assert abs(value - expected) <= (abs(expected) + arb(0.01)) * 2.0**-88


@firsts
def test_outputs_are_exact_to_double_double(first: bool) -> None:
    exact, _ = piece_of(first)
    for index in range(2):
        for j, y in enumerate(series(first, index, None)):
            assert_exact(exact.output, (index, j), y[0])


def gradients(first: bool) -> dict[str, Tensor | DoubleDouble]:
    """Return the exact gradients of x and z as the judge works them out."""
    exact, dy = piece_of(first)
    reading = Reading()
    entering = Entering.of(exact, dy, reading, FLOAT64)
    plain, wide = exact.gradients(entering.dy, entering.wide)
    formats = {"x": FLOAT64, "z": FLOAT64} if first else {"x": FLOAT64}
    found = {
        name: value
        for name, _, value, _, _ in input_gradients(
            exact, plain, wide, entering, reading, formats, None,
            narrow=False, excluded=lambda tensor, policy: False, accumulation=FLOAT64,
        )
    }  # fmt: skip
    if not first:
        ((_, (value, _)),) = gate_gradients(exact, dy, reading, FLOAT64, None, FLOAT64).items()
        found["z"] = value
    return found


@firsts
@pytest.mark.parametrize("name", ["x", "z"])
def test_gradients_are_exact_to_double_double(first: bool, name: str) -> None:
    found, dy = gradients(first)[name], drawn()[2]
    for index in range(2):
        for j in range(COLUMNS):
            outputs = series(first, index, (name, j))
            terms = [arb(g) * y[1] for g, y in zip(dy[index].tolist(), outputs, strict=True)]
            assert_exact(found, (index, j), sum(terms, arb(0)))
