"""Wrong layer norms that the catalogue knows nothing of: other numbers, other code.

They are written in NumPy or in plain torch, each from the formula, so that a diagnosis is measured
on more than the implementations that it may have been written beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["LAYER_FAULTS", "Fault"]

Array = Any
Statistics = Callable[[Array, float], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong target, and the class that a diagnosis has to name first."""

    name: str
    op: str
    kind: str
    target: Callable[..., Any]
    prop: str = "forward_accuracy"
    dtype: str = "float32"
    policies: tuple[str, ...] = ()


LAYER_FAULTS: list[Fault] = []


def _wide(x: Tensor) -> Array:
    return x.detach().double().numpy()


def _layer(name: str, kind: str, dtype: str = "float32") -> Callable[[Statistics], Statistics]:
    """Make a layer norm of a function from rows and eps to mean and reciprocal root."""

    def planted(statistics: Statistics) -> Statistics:
        def target(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
            rows = _wide(x).reshape(-1, x.shape[-1])
            with np.errstate(all="ignore"):
                mean, root = statistics(rows, eps)
                y = (rows - mean) * root
            found = torch.from_numpy(y).reshape(x.shape)
            found = found if weight is None else found * weight.double()
            return (found if bias is None else found + bias.double()).to(x.dtype)

        LAYER_FAULTS.append(Fault(name, "layer_norm", kind, target, dtype=dtype))
        return statistics

    return planted


def _moments(rows: Array) -> tuple[Array, Array]:
    return rows.mean(1, keepdims=True), rows.var(1, keepdims=True)


@_layer("only_1000_columns", "K14")
def _only_1000(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows[:, :1000])
    return mean, 1 / np.sqrt(v + eps)


@_layer("tail_past_48", "K14")
def _tail_past_48(rows: Array, eps: float) -> tuple[Array, Array]:
    n = rows.shape[1]
    mean, v = _moments(rows[:, : n - n % 48] if n > 48 else rows)
    return mean, 1 / np.sqrt(v + eps)


@_layer("squares_of_whole_vectors_of_8", "K14")
def _vectors_of_8(rows: Array, eps: float) -> tuple[Array, Array]:
    n = rows.shape[1]
    whole = max(n - n % 8, min(n, 8))
    mean = rows.mean(1, keepdims=True)
    return mean, 1 / np.sqrt(np.square(rows - mean)[:, :whole].sum(1, keepdims=True) / n + eps)


@_layer("eps_3e_6", "K06")
def _eps_3e_6(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, 1 / np.sqrt(v + 3e-6)


@_layer("eps_times_ten", "K06")
def _eps_times_ten(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, 1 / np.sqrt(v + 10 * eps)


@_layer("eps_beside_the_deviation", "K05")
def _eps_beside(rows: Array, eps: float) -> tuple[Array, Array]:
    return rows.mean(1, keepdims=True), 1 / (rows.std(1, keepdims=True) + eps)


@_layer("sample_deviation", "K07")
def _sample_deviation(rows: Array, eps: float) -> tuple[Array, Array]:
    ddof = 1 if rows.shape[1] > 1 else 0
    v = rows.var(1, ddof=ddof, keepdims=True)
    return rows.mean(1, keepdims=True), 1 / np.sqrt(v + eps)


@_layer("width_of_768", "K07")
def _width_of_768(rows: Array, eps: float) -> tuple[Array, Array]:
    mean = rows.mean(1, keepdims=True)
    return mean, 1 / np.sqrt(np.square(rows - mean).sum(1, keepdims=True) / 768 + eps)


@_layer("variance_not_its_root", "K07")
def _not_its_root(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, 1 / (v + eps)


@_layer("mean_square", "K07")
def _mean_square(rows: Array, eps: float) -> tuple[Array, Array]:
    square = np.square(rows).mean(1, keepdims=True)
    return rows.mean(1, keepdims=True), 1 / np.sqrt(square + eps)


@_layer("zeros_to_64_lanes", "K13")
def _zeros_to_64(rows: Array, eps: float) -> tuple[Array, Array]:
    mean = rows.mean(1, keepdims=True)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 64)))
    return mean, 1 / np.sqrt(np.square(padded - mean).sum(1, keepdims=True) / rows.shape[1] + eps)


@_layer("divided_by_16_lanes", "K13")
def _divided_by_16(rows: Array, eps: float) -> tuple[Array, Array]:
    mean = rows.mean(1, keepdims=True)
    lanes = rows.shape[1] + -rows.shape[1] % 16
    return mean, 1 / np.sqrt(np.square(rows - mean).sum(1, keepdims=True) / lanes + eps)


@_layer("one_row_late", "K15")
def _one_row_late(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, 1 / np.sqrt(np.concatenate([v[:1], v[:-1]]) + eps)


@_layer("tiles_of_four_rows", "K15")
def _tiles_of_four(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    for start in range(0, rows.shape[0] - rows.shape[0] % 4, 4):
        v[start : start + 4] = v[start : start + 4].mean()
    return mean, 1 / np.sqrt(v + eps)


@_layer("fixed_gain", "K14")
def _fixed_gain(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, 1.061 / np.sqrt(v + eps)


@_layer("single_precision_moments_of_squares", "K01")
def _one_pass(rows: Array, eps: float) -> tuple[Array, Array]:
    h = rows.astype(np.float32)
    mean, square = h.mean(1, keepdims=True), np.square(h).mean(1, keepdims=True)
    v = np.maximum(square - np.square(mean), np.float32(0))
    return rows.mean(1, keepdims=True), 1 / np.sqrt(v.astype(np.float64) + eps)


@_layer("root_in_half", "K09")
def _root_in_half(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    return mean, (1 / np.sqrt(v + eps)).astype(np.float16).astype(np.float64)


@_layer("squares_in_half", "K02", "float16")
def _squares_in_half(rows: Array, eps: float) -> tuple[Array, Array]:
    mean = rows.mean(1, keepdims=True)
    squares = np.square((rows - mean).astype(np.float16)).astype(np.float64)
    return mean, 1 / np.sqrt(squares.mean(1, keepdims=True) + eps)


@_layer("nan_without_variance", "K11")
def _nan_without_variance(rows: Array, eps: float) -> tuple[Array, Array]:
    mean, v = _moments(rows)
    flat = np.ptp(rows, 1, keepdims=True) == 0
    return mean, np.where(flat, np.nan, 1 / np.sqrt(v + eps))
