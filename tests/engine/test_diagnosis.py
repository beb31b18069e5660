"""A cause is named where it is the cause, and none where the target is right or unknown."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import normcheck
from normcheck.properties.failure_modes import catalogue
from tests.engine.diagnosing import cause_of
from tests.engine.independent_faults import FAULTS, Fault

HONEST = Path(__file__).parent.parent / "honest" / "implementations.py"
# Nothing is named: better than something wrong.
SILENT = {"weight_gradient_of_whole_blocks_of_8"}


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_independent_fault_is_diagnosed_as_its_class(fault: Fault) -> None:
    found = cause_of(fault.target, fault.op, fault.prop, fault.dtype, policies=fault.policies)
    assert found is not None
    assert found.kind == ("" if fault.name in SILENT else fault.kind), found.text


def test_there_are_enough_independent_faults_and_few_silent_ones() -> None:
    assert len(FAULTS) >= 25
    assert len(SILENT) <= 0.2 * len(FAULTS)


CAUSES = {
    "layer_norm_one_pass_variance": "one-pass variance",
    "layer_norm_unbiased_variance": "n - 1",
    "layer_norm_eps_outside": "eps outside the root",
    "layer_norm_padded_lanes": "padded to the next power of two",
    "layer_norm_weight_ignored": "weight is ignored",
    "layer_norm_truncated_row": "the first 4096 of",
    "layer_norm_dropped_tail": "a multiple of 32",
    "layer_norm_no_mean_term": "lacks the mean of g",
    "rms_norm_centred": "the mean is subtracted",
    "rms_norm_offset_weight": "1 + weight",
    "group_norm_per_channel": "taken over positions",
    "batch_norm_biased_running_variance": "running variance is biased",
    "batch_norm_swapped_momentum": "momentum weighs the old value",
    "batch_norm_lost_update": "never updated",
    "l2_norm_eps_inside": "eps inside the root",
}


@pytest.mark.parametrize("name", CAUSES)
def test_words_name_the_planted_cause(name: str) -> None:
    mode = catalogue.find(name)
    found = cause_of(mode.target, mode.op, mode.caught_by, mode.dtype, mode.profile)
    assert found is not None
    assert CAUSES[name] in found.text


def copied(x: Tensor) -> Tensor:
    return x.clone()


def centred(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) * weight + bias


_KEPT: dict[torch.Size, Tensor] = {}


def kept(x: Tensor, weight: Tensor) -> Tensor:
    root = _KEPT.setdefault(x.shape, x.square().mean(-1, keepdim=True).rsqrt())
    return x * root * weight


@pytest.mark.parametrize(
    ("target", "op", "words"),
    [
        (copied, "l2_norm", "x is not divided by its statistics"),
        (copied, "rms_norm", "x is not divided by its statistics"),
        (centred, "layer_norm", "x is not divided by its statistics"),
        (kept, "rms_norm", "the statistics are those of an earlier call"),
    ],
)
def test_no_statistics_are_told_from_old_ones(
    target: Callable[..., Tensor], op: str, words: str
) -> None:
    found = cause_of(target, op, "forward_accuracy")
    assert found is not None
    assert found.text == words


WRONGLY_DECLARED = [
    ("layer_norm_two_pass", "layer_norm", "forward_accuracy", "eps=outside"),
    ("layer_norm_two_pass", "layer_norm", "gradients", "eps=outside"),
    ("layer_norm_two_pass", "layer_norm", "forward_accuracy", "weight=one_plus"),
    ("layer_norm_two_pass", "layer_norm", "gradients", "weight=one_plus"),
    ("rms_norm_llama", "rms_norm", "forward_accuracy", "weight=one_plus"),
    ("rms_norm_llama", "rms_norm", "forward_accuracy", "rounding=fused"),
    ("layer_norm_two_pass", "layer_norm", "forward_accuracy", "rounding=cast_then_scale"),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "op", "prop", "policy"), WRONGLY_DECLARED)
def test_honest_target_declared_wrongly_gets_nothing_but_a_hint(
    name: str, op: str, prop: str, policy: str, dtype: str
) -> None:
    found = cause_of(f"{HONEST}:{name}", op, prop, dtype, policies=[policy])
    assert found is None or not found.text or "declare --policy" in found.text


@pytest.mark.parametrize(("policy", "meant"), [("old", "new"), ("new", "old")])
def test_momentum_hint_names_the_other_convention(policy: str, meant: str) -> None:
    if policy == "old":
        target = "torch.nn.functional:batch_norm"
    else:
        target = catalogue.find("batch_norm_swapped_momentum").target
    found = cause_of(target, "batch_norm", "running_statistics", policies=[f"momentum={policy}"])
    assert found is not None
    assert f"declare --policy momentum={meant}" in found.text


def serial_layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    h = x.float()
    mean = h.cumsum(-1)[..., -1:] / h.shape[-1]
    variance = (h - mean).square().cumsum(-1)[..., -1:] / h.shape[-1]
    y = (h - mean) * torch.rsqrt(variance + eps)
    y = y if weight is None else y * weight.float()
    return (y if bias is None else y + bias.float()).to(x.dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_serial_float32_sum_is_not_taken_for_low_precision(dtype: str) -> None:
    found = cause_of(serial_layer_norm, "layer_norm", "forward_accuracy", dtype)
    assert found is None or "kept in" not in found.text


def test_cause_is_in_the_record() -> None:
    mode = catalogue.find("layer_norm_eps_outside")
    record = normcheck.run(mode.target, op=mode.op, dtypes=["float32"], profile="quick",
                           properties=[mode.caught_by], verdict_only=True)  # fmt: skip
    assert "eps outside the root" in record.checks[0].failures[0].likely
