"""Properties that pose a case in another way catch what plain calls of that case do not show."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import normcheck
from normcheck.properties.failure_modes import catalogue
from normcheck.record import Failure, Record, Verdict

Shape = tuple[int, ...]

PAIRS = [
    ("padding_independence", "layer_norm_storage_offset_ignored"),
    ("scale_covariance", "layer_norm_tiny_variance_is_zero"),
    ("optional_arguments", "layer_norm_bias_before_weight"),
    ("rank_independence", "layer_norm_leading_dimensions_merged"),
    ("permutation_covariance", "layer_norm_ragged_last_block"),
    ("eps_sensitivity", "layer_norm_half_eps"),
    ("slice_independence", "layer_norm_ragged_last_block"),
    ("affine_split", "layer_norm_weight_magnitude"),
    ("train_inference_agreement", "batch_norm_swapped_momentum"),
    ("eval_gradients", "batch_norm_eval_uses_batch"),
]


def run(target: str | Callable[..., object], op: str, prop: str) -> Record:
    return normcheck.run(
        target, op=op, dtypes=["float32"], profile="quick", properties=[prop], verdict_only=True
    )


def failure(record: Record) -> Failure:
    (check,) = record.checks
    assert check.verdict is Verdict.FAIL
    return check.failures[0]


@pytest.mark.parametrize(("prop", "name"), PAIRS, ids=[prop for prop, _ in PAIRS])
def test_a_property_kills_a_mutant_by_itself(prop: str, name: str) -> None:
    mode = catalogue.find(name)
    assert failure(run(mode.target, mode.op, prop)).message


def wrong_when_shifted(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Wrong about data that no plain case has: a shift of 1024."""
    y = functional.layer_norm(x, normalized_shape, weight, bias, eps)
    return y * 1.5 if x.numel() and 1015.0 < float(x.min()) < 1100.0 else y


def wrong_with_one_group(
    x: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    y = functional.group_norm(x, num_groups, weight, bias, eps)
    return y * 1.5 if num_groups == 1 and x.shape[0] > 20 and weight is None else y


def wrong_in_part(
    x: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Another kernel serves a single row, and forgets eps."""
    single = x.shape[0] == 1 and x.dim() == 2 and x.shape[1] > 2
    return functional.layer_norm(x, normalized_shape, weight, bias, 0.5 if single else eps)


def test_a_shift_that_matters_is_told() -> None:
    found = failure(run(wrong_when_shifted, "layer_norm", "shift_invariance"))
    assert "with 1024 added to x" in found.message


def test_a_structure_that_matters_is_told() -> None:
    found = failure(run(wrong_with_one_group, "group_norm", "structure_equivalence"))
    assert "as one group on" in found.message


def test_a_batch_that_matters_is_told() -> None:
    found = failure(run(wrong_in_part, "layer_norm", "batch_split"))
    assert "called in parts of 1, " in found.message


@pytest.mark.parametrize("prop", ["shift_invariance", "batch_split", "slice_independence"])
def test_torch_passes(prop: str) -> None:
    (check,) = run("torch.nn.functional:layer_norm", "layer_norm", prop).checks
    assert check.verdict is Verdict.PASS
    assert check.cases > 3


def order_of_rows_decides(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Adds up in another order where there are many rows."""
    blocks = 2 if x.numel() // max(x.shape[-1], 1) > 4 and x.shape[-1] % 2 == 0 else 1
    squares = x.square().reshape(*x.shape[:-1], blocks, -1).sum(-1).sum(-1, keepdim=True)
    y = x * torch.rsqrt(squares / x.shape[-1] + eps)
    return y if weight is None else y * weight


def test_batch_invariance_is_claimed_only_where_it_is_declared() -> None:
    settings = {"op": "rms_norm", "dtypes": ["float32"], "profile": "quick", "verdict_only": True}
    plain = normcheck.run(order_of_rows_decides, **settings)  # type: ignore[arg-type]
    assert "batch_invariance" not in {check.property for check in plain.checks}
    declared = normcheck.run(
        order_of_rows_decides,
        policies=["reruns=batch_invariant"],
        properties=["batch_invariance"],
        **settings,  # type: ignore[arg-type]
    )
    assert "alone have other bits than among" in failure(declared).message
