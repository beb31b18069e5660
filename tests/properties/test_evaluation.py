"""Gradients in evaluation mode, and what training leaves for inference."""

from pathlib import Path

import pytest

import normcheck
from normcheck.errors import NothingToRunError
from normcheck.record import Check, Verdict

HERE = Path(__file__).parent
EVALUATED = f"{HERE / 'evaluated_targets.py'}:"
CHANNELS = f"{HERE.parent / 'honest' / 'channels.py'}:"
IMPLEMENTATIONS = f"{HERE.parent / 'honest' / 'implementations.py'}:"
DTYPES = ("float32", "bfloat16", "float16", "float64")
GRADIENTS, AGREEMENT = "eval_gradients", "train_inference_agreement"


def judged(name: str, target: str, op: str = "batch_norm", dtype: str = "float32") -> Check:
    record = normcheck.run(
        target, op=op, dtypes=[dtype], profile="quick", properties=[name], verdict_only=True,
        policies=("summation=serial",),
    )  # fmt: skip
    (check,) = record.checks
    return check


HONEST = [
    (f"{CHANNELS}batch_norm_two_pass", "batch_norm"),
    (f"{CHANNELS}instance_norm_two_pass", "instance_norm"),
    ("torch.nn:BatchNorm1d", "batch_norm"),
    ("torch.nn:BatchNorm2d", "batch_norm"),
    ("torch.nn:InstanceNorm1d", "instance_norm"),
    ("torch.nn.functional:batch_norm", "batch_norm"),
    ("torch.nn.functional:instance_norm", "instance_norm"),
    (f"{EVALUATED}right_gradients", "batch_norm"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("target", "op"), HONEST)
@pytest.mark.parametrize("name", [GRADIENTS, AGREEMENT])
def test_an_honest_target_with_buffers_holds(name: str, target: str, op: str, dtype: str) -> None:
    check = judged(name, target, op, dtype)
    assert check.verdict is Verdict.PASS, check.failures
    assert check.cases >= 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("target", "op"),
    [
        ("torch.nn:LayerNorm", "layer_norm"),
        ("torch.nn:RMSNorm", "rms_norm"),
        ("torch.nn:GroupNorm", "group_norm"),
    ],
)
def test_a_module_without_buffers_agrees_in_both_modes(target: str, op: str, dtype: str) -> None:
    assert judged(AGREEMENT, target, op, dtype).verdict is Verdict.PASS


def test_a_function_without_buffers_has_one_mode() -> None:
    with pytest.raises(NothingToRunError, match="train_inference_agreement says nothing about"):
        judged(AGREEMENT, f"{IMPLEMENTATIONS}layer_norm_two_pass", "layer_norm")


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        ("gradients_of_training", "in evaluation mode"),
        ("stale_statistics", "in evaluation mode"),
        ("wrong_when_frozen", "in evaluation mode with weight and bias frozen"),
    ],
)
def test_a_wrong_gradient_in_evaluation_is_caught(mutant: str, words: str) -> None:
    check = judged(GRADIENTS, f"{EVALUATED}{mutant}")
    assert check.verdict is Verdict.FAIL
    assert f"call      {words}" in check.failures[0].message
    assert check.failures[0].tensor in ("grad_x", "grad_weight")


@pytest.mark.parametrize(
    ("mutant", "op", "words"),
    [
        ("ignores_the_buffers", "batch_norm", "in evaluation mode"),
        ("FoldedOnce", "batch_norm", "on the batch of training step 1 with momentum 1"),
        ("FastInEval", "layer_norm", "in evaluation mode"),
        ("DropsBiasInEval", "layer_norm", "in evaluation mode"),
    ],
)
def test_a_difference_between_training_and_inference_is_caught(
    mutant: str, op: str, words: str
) -> None:
    check = judged(AGREEMENT, f"{EVALUATED}{mutant}", op)
    assert check.verdict is Verdict.FAIL
    assert words in check.failures[0].message
    assert check.failures[0].tensor == "y"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mutant", ["gradients_of_training", "wrong_when_frozen"])
def test_a_wrong_formula_is_told_from_low_precision_in_halves_too(mutant: str, dtype: str) -> None:
    assert judged(GRADIENTS, f"{EVALUATED}{mutant}", dtype=dtype).verdict is Verdict.FAIL
