"""The exact answer to a case, for tests of one's own."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.cases.pose import pose
from normcheck.numerics.double_double import DoubleDouble
from normcheck.numerics.exact_piece import ExactPiece
from normcheck.numerics.formats import FloatFormat
from normcheck.policy import Policy

__all__ = ["exact_output"]


def exact_output(case: Case) -> Tensor:
    """Return the exact output of an op, of x's shape, float64, under the default policies.

    Args:
        case: Of any op whose output is one tensor.
    """
    inputs = materialise(case)
    problem = pose(inputs, Policy())
    found = torch.empty(problem.x.shape, dtype=torch.float64)
    accumulation = FloatFormat.of(problem.x.dtype).accumulation
    # One piece: what a test of one's own looks at is small.
    for piece in problem.reduction.pieces(problem.x.numel() or 1):
        output = ExactPiece.of(problem, piece, accumulation, rounded=False).output
        piece.take(found).copy_(output.double() if isinstance(output, DoubleDouble) else output)
    return found.reshape(inputs.tensors["x"].shape)
