"""Lives of batch norms: honest ones hold, each mutant ends in a short sequence that shows it."""

from pathlib import Path

import pytest

import normcheck
from normcheck.record import Check, Verdict

HERE = Path(__file__).parent
LIVING = f"{HERE / 'living_targets.py'}:"
CHANNELS = f"{HERE.parent / 'honest' / 'channels.py'}:"
SERIAL = ("summation=serial",)


def judged(
    target: str,
    op: str = "batch_norm",
    dtype: str = "float32",
    policies: tuple[str, ...] = (),
    fixed: dict[str, object] | None = None,
    timeout_s: float = 60.0,
) -> Check:
    record = normcheck.run(
        target, op=op, dtypes=[dtype], profile="quick", properties=["running_state_machine"],
        verdict_only=True,
        policies=policies, fixed=fixed, timeout_s=timeout_s,
    )  # fmt: skip
    (check,) = record.checks
    return check


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize(
    ("target", "op"),
    [
        (f"{CHANNELS}batch_norm_two_pass", "batch_norm"),
        (f"{CHANNELS}instance_norm_two_pass", "instance_norm"),
        ("torch.nn:BatchNorm1d", "batch_norm"),
        ("torch.nn:BatchNorm2d", "batch_norm"),
        ("torch.nn:InstanceNorm1d", "instance_norm"),
        ("torch.nn.functional:batch_norm", "batch_norm"),
        ("torch.nn.functional:instance_norm", "instance_norm"),
    ],
)
def test_an_honest_life_holds(target: str, op: str, dtype: str) -> None:
    check = judged(target, op, dtype, policies=SERIAL)
    assert check.verdict is Verdict.PASS, check.failures
    assert check.cases >= 2
    assert check.worst_ratio > 0.0


def test_the_sample_without_a_fault_holds() -> None:
    assert judged(f"{LIVING}RightBatchNorm").verdict is Verdict.PASS


MUTANTS = {
    "UpdatesInEvalWithGradients": "changed in evaluation mode",
    "UpdatesWhenFrozen": "after frozen(): running_mean",
    "NeverCumulative": "train(momentum=None)",
    "CountsAnyCall": "after eval(): num_batches_tracked is 1, but must be 0",
    "UpdatesOldBuffers": "convert()",
    "KeepsFoldedStatistics": "eval()",
    "UpdatesOnce": "train(momentum=0.2), train(momentum=0.2)",
    "LoadsMeanOnly": "load(): running_var[",
    "updates_each_buffer_once": "train(momentum=0.2), train(momentum=0.2)",
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_and_the_sequence_is_told(name: str) -> None:
    check = judged(f"{LIVING}{name}")
    assert check.verdict is Verdict.FAIL
    told = check.failures[0].message
    assert MUTANTS[name] in told
    line = next(text for text in told.splitlines() if "after " in text)
    assert line.count("(") <= 8  # shortened: drawn sequences have up to seven steps of one to four


def test_a_case_says_the_same_when_it_is_judged_again() -> None:
    first, second = (judged(f"{LIVING}UpdatesOldBuffers") for _ in range(2))
    assert first.failures == second.failures


def test_a_call_that_hangs_ends_the_search() -> None:
    check = judged(f"{LIVING}hangs_at_the_third_call", timeout_s=0.5)
    assert check.verdict is Verdict.FAIL
    assert "the target did not return within 0.5 s" in check.failures[0].message


def test_a_target_without_buffers_is_not_judged() -> None:
    check = judged("torch.nn:BatchNorm1d", fixed={"track_running_stats": False})
    assert check.verdict is Verdict.NOT_JUDGED
    assert check.reason == "the target keeps no running statistics"
