"""Hypothesis draws recipes, never elements: shapes around every edge, and every knob of a case."""

from __future__ import annotations

from hypothesis import strategies as st

from normcheck.cases.case import Case
from normcheck.cases.corpus import fitted
from normcheck.cases.regimes import MIXES, REGIMES, mix
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.ops.op import Family, Op

__all__ = ["cases"]

_EDGES = (8, 16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096, 5120, 8192, 16384, 65536)
# Hypothesis mixes in whole numbers from 100 on that stand in modules of the user's project, where
# a range has room for them: with smaller ranges, a seed draws the same cases everywhere.
_SMALL = 99
_DIGITS = st.tuples(st.integers(0, 31), st.integers(0, 31))
_EPS = (None, 1e-12, 1e-6, 1e-5, 1e-3, 1e-2, 1.0)


def _sizes(limit: int) -> st.SearchStrategy[int]:
    """Small sizes, primes among them, and each power of two with its neighbours."""
    near = [size + shift for size in _EDGES for shift in (-1, 0, 1) if size + shift <= limit]
    small = st.integers(1, min(limit, _SMALL))
    return st.one_of(small, st.sampled_from(near)) if near else small


@st.composite
def _row_shapes(draw: st.DrawFn, limit: int) -> tuple[tuple[int, ...], int]:
    """A shape of rank 1 to 5, and how many trailing dimensions are normalised."""
    columns = draw(_sizes(limit))
    rows = draw(_sizes(max(1, limit // columns)))
    rank = draw(st.sampled_from((2, 2, 2, 1, 3, 4, 5)))
    if rank == 1:
        return (columns,), 1
    lead: list[int] = []
    for _ in range(rank - 2):
        # Split the rows over the leading dimensions: (batch, tokens, hidden) above all.
        size = draw(st.sampled_from([n for n in (1, 2, 3, 4, 5, 7, 8) if n <= rows]))
        lead.append(size)
        rows = max(1, rows // size)
    shape = (*lead, rows, columns)
    dims = draw(st.integers(1, rank - 1)) if rank > 2 and columns * rows <= limit else 1
    return shape, dims


@st.composite
def _channel_shapes(draw: st.DrawFn, limit: int) -> tuple[int, ...]:
    """(N, C, *spatial) with zero to three spatial dimensions."""
    channels = draw(st.sampled_from((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36, 64)))
    samples = draw(_sizes(max(1, min(limit // channels, 4096))))
    left = max(1, limit // (channels * samples))
    spatial = draw(st.integers(0, 3))
    sizes = []
    for _ in range(spatial):
        size = draw(_sizes(max(1, min(left, 130))))
        sizes.append(size)
        left = max(1, left // size)
    return (samples, channels, *sizes)


def _tokens(fmt: FloatFormat) -> list[str]:
    """Every regime that a format can hold, each with the strengths of the mixes."""
    known = [token for name in MIXES for token in mix(name, fmt)]
    plain = [name for name, regime in REGIMES.items() if not regime.strength]
    return list(dict.fromkeys(["plain", *MIXES, *known, *plain]))


@st.composite
def cases(draw: st.DrawFn, op: Op, dtype: str, limit: int) -> Case:
    """Draw a case of an op.

    Args:
        draw: Given by Hypothesis.
        op: The op.
        dtype: Name of the format.
        limit: Most elements of ``x``.
    """
    shape: tuple[int, ...]
    dims = 1
    if op.family is Family.ROWS:
        shape, dims = draw(_row_shapes(limit).filter(lambda drawn: op.shaped(drawn[0]) is not None))
        if op.parameter("normalized_shape") is None:
            dims = 1
    else:
        shape = draw(_channel_shapes(limit))
        if op.name == "instance_norm" and len(shape) == 2:
            shape = (*shape, draw(_sizes(max(1, min(64, limit // (shape[0] * shape[1]))))))
    layouts = ["contiguous", "strided", "pitched"] + (
        ["channels_last"] if len(shape) in (4, 5) else []
    )
    case = Case(
        op.name,
        dtype,
        shape,
        regime=draw(st.sampled_from(_tokens(FloatFormat.of(BY_NAME[dtype])))),
        dims=dims,
        mode=draw(st.sampled_from(("train", "train", "eval"))) if op.training_flag else "train",
        momentum=draw(st.sampled_from((0.2, 0.0, 1.0, 0.9))) if op.tracks_statistics else 0.2,
        weight=draw(st.sampled_from(("mixed", "mixed", "none"))) if op.has_affine else "mixed",
        bias=draw(st.sampled_from(("mixed", "none"))) if op.parameter("bias") else "mixed",
        eps=draw(st.sampled_from(_EPS)),
        layout=draw(st.sampled_from(layouts)),
        seed=draw(_DIGITS.map(lambda digits: 32 * digits[0] + digits[1])),
    )
    found = fitted(case, op)
    assert found is not None, "every drawn shape has a meaning for its op"
    return found
