"""RMS norms with right outputs and gradients that are wrong in one way each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import in_storage_order
from normcheck.properties.failure_modes.right_ops import rms_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@rms_norm("weigh")
def unweighted_gradient(right: Step, d: Tensor, weight: Tensor | None, frame: Frame) -> Tensor:
    return d


@rms_norm("dx")
def projection_added(right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    return (g + x_hat * averaged(g * x_hat, frame)) * root


@rms_norm("dx")
def centred_gradient(right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    dx: Tensor = right(g, x_hat, root, frame)
    return dx - averaged(g, frame) * root


@rms_norm("saved")
def half_root_saved(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, root.half().to(root.dtype)


@rms_norm("dw")
def bfloat16_partial_sums(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    rows, columns = terms.shape
    padded = torch.cat([terms, terms.new_zeros(-rows % 32, columns)])
    sums = padded.reshape(-1, 32, columns).sum(1).bfloat16().to(terms.dtype)
    return right(sums, frame)


@rms_norm("give")
def frozen_input_stops_all(
    right: Step, dx: Tensor, dw: Tensor | None, db: Tensor | None, needed: tuple[bool, ...]
) -> Any:
    return right(dx, dw if needed[0] else None, db, needed)


@rms_norm("dw")
def row_sums_of_products(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # A row more than 4096 is never reached: the grid is one block too small.
    return right(terms[:4096], frame)


@rms_norm("read_dy")
def dy_stride_ignored(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(dy), frame)
