"""Layer norms with right outputs and gradients that are wrong in one way each."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from normcheck.properties.failure_modes.right_ops import layer_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@layer_norm("weigh")
def weight_twice(right: Step, d: Tensor, weight: Tensor | None, frame: Frame) -> Tensor:
    return right(right(d, weight, frame), weight, frame)


@layer_norm("dx")
def mean_twice(right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    dx: Tensor = right(g, x_hat, root, frame)
    return dx - averaged(g, frame) * root


@layer_norm("dx")
def projection_over_n_minus_one(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    dx: Tensor = right(g, x_hat, root, frame)
    return dx - x_hat * averaged(g * x_hat, frame) * root / max(frame.count - 1, 1)


@layer_norm("dx")
def mixed_rows_in_dx(right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    # The projection is summed over the tile of narrow rows, not along each of them.
    dx: Tensor = right(g, x_hat, root, frame)
    if frame.count >= 64 or frame.view[0] < 32:
        return dx
    projection = averaged(g * x_hat, frame)
    return dx + x_hat * root * (projection - projection.mean())


@layer_norm("saved")
def eps_missing_in_backward(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, torch.rsqrt(variance.clamp_min(1e-30))


@layer_norm("saved")
def variance_saved_for_root(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, variance


@layer_norm("saved")
def bfloat16_root_saved(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, root.bfloat16().to(root.dtype)


@layer_norm("saved")
def bfloat16_values_saved(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat.bfloat16().to(root.dtype), root


_LATEST: dict[torch.Size, Tensor] = {}


def _remember(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    root: Tensor = right(variance, eps, frame)
    _LATEST[root.shape] = root.detach()
    return root


@layer_norm("saved")
def root_of_the_latest_call(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, _LATEST.get(root.shape, root).to(root.dtype)


root_of_the_latest_call.steps["root"] = partial(_remember, root_of_the_latest_call.steps["root"])

_TOTALS: dict[torch.Size, Tensor] = {}


@layer_norm("dw")
def never_cleared_weight_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # The buffer of partial sums is allocated once and not cleared before the next backward.
    found: Tensor = right(terms, frame)
    total = found + _TOTALS.get(terms.shape, torch.zeros_like(found)).to(found.dtype)
    _TOTALS[terms.shape] = total.detach()
    return total


@layer_norm("dw")
def ragged_weight_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # Partial sums are sized by floor(rows / 16): the last rows reach no parameter gradient.
    rows = terms.shape[0]
    found: Tensor = right(terms[: rows - rows % 16] if rows >= 16 else terms, frame)
    return found


@layer_norm("dw")
def tail_of_weight_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    columns = terms.shape[1]
    written = (torch.arange(columns, device=terms.device) < columns - columns % 32).to(terms.dtype)
    found: Tensor = right(terms, frame)
    return found * written if columns > 32 else found


@layer_norm("db")
def bias_gradient_over_lanes(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # A reduction over 64 lanes where a wave has 32: from the 129th row on, rows count twice.
    found: Tensor = right(terms, frame)
    twice: Tensor = right(terms[128:], frame)
    return found + twice if terms.shape[0] > 128 else found


@layer_norm("db")
def rounded_partial_sums(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # Sums of 64 rows are stored in bfloat16, and added up in float32.
    rows, columns = terms.shape
    padded = torch.cat([terms, terms.new_zeros(-rows % 64, columns)])
    partial_sums = padded.reshape(-1, 64, columns).sum(1).bfloat16().to(terms.dtype)
    found: Tensor = right(partial_sums, frame)
    return found


@layer_norm("dw")
def rounded_products(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    return right(terms.bfloat16().to(terms.dtype), frame)


@layer_norm("db")
def unwritten_bias_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    return right(0.0 * terms, frame)


@layer_norm("give")
def weight_gradient_needs_x(
    right: Step, dx: Tensor, dw: Tensor | None, db: Tensor | None, needed: tuple[bool, ...]
) -> Any:
    return right(dx, dw, db, needed) if needed[0] else right(dx, None, None, needed)


@layer_norm("give")
def input_gradient_needs_weight(
    right: Step, dx: Tensor, dw: Tensor | None, db: Tensor | None, needed: tuple[bool, ...]
) -> Any:
    # A frozen norm under adapters: nothing flows through it to the layers below.
    frozen = dw is not None and not needed[1]
    return right(0.0 * dx if frozen else dx, dw, db, needed)


@layer_norm("call")
def severed_without_weight(
    right: Step, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, frame: Frame
) -> Tensor:
    y: Tensor = right(x, weight, bias, eps, frame)
    return y.detach() if weight is None else y


@layer_norm("read_dy")
def cut_gradient(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    d: Tensor = right(dy, frame)
    return d.clamp(-1.0, 1.0)
