"""The engine: what is judged, counted, shrunk and recorded."""

import torch
from torch import Tensor

import normcheck
from normcheck.events import CaseJudged, CheckFinished, Event, RunFinished, RunStarted
from normcheck.record import Record, Verdict


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    h = x if x.dtype == torch.float64 else x.float()
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(x.dtype)


def rms_norm_wrong_from_17_columns(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return rms_norm(x, weight, eps) * (1.5 if x.shape[-1] >= 17 else 1.0)


def rms_norm_rounds_now_and_then(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Llama's rounding for odd widths, one rounding at the end for even ones."""
    if weight is None or x.shape[-1] % 2 == 0:
        return rms_norm(x, weight, eps)
    return rms_norm(x, None, eps) * weight


def rms_norm_without_gradient(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return rms_norm(x.detach(), None if weight is None else weight.detach(), eps)


def test_events_tell_the_run_in_order() -> None:
    events: list[Event] = []
    record = normcheck.run(
        rms_norm, dtypes=["float32"], profile="quick", listener=events.append, verdict_only=True
    )
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].record is record
    finished = {e.check.id for e in events if isinstance(e, CheckFinished)}
    # Whether a target is a custom op shows when it is called: its check is told only then.
    assert set(events[0].checks) - finished == {"rms_norm-float32-cpu-custom_op"}
    assert finished == {check.id for check in record.checks}
    judged = [e for e in events if isinstance(e, CaseJudged)]
    assert record.cases_judged <= len(judged)


def test_a_record_survives_json() -> None:
    record = normcheck.run(
        rms_norm_wrong_from_17_columns, dtypes=["bfloat16"], profile="quick", verdict_only=True
    )
    assert Record.model_validate_json(record.to_json()) == record


def test_a_failure_shrinks_to_the_smallest_recipe() -> None:
    record = normcheck.run(
        rms_norm_wrong_from_17_columns, dtypes=["float32"], profile="quick", verdict_only=True
    )
    (check,) = [c for c in record.checks if c.property == "forward_accuracy"]
    failure = check.failures[0]
    assert failure.case == "nc1:rms_norm/f32/1x17/plain/weight=none"
    assert "columns" in failure.matters
    assert {"rows", "seed"} <= set(failure.does_not_matter)


def test_a_target_that_rounds_here_and_there_differently_fails() -> None:
    record = normcheck.run(
        rms_norm_rounds_now_and_then,
        op="rms_norm",
        dtypes=["bfloat16"],
        profile="quick",
        verdict_only=True,
    )
    (check,) = [c for c in record.checks if c.property == "forward_accuracy"]
    assert check.verdict is Verdict.FAIL


def test_a_declared_rounding_policy_is_the_only_one_tried() -> None:
    llama = "normcheck.properties.failure_modes.rms_norm:low_precision"
    for policy, verdict in (("rounding=fused", Verdict.PASS), ("eps=outside", Verdict.FAIL)):
        record = normcheck.run(
            rms_norm, dtypes=["bfloat16"], profile="quick", policies=[policy],
            fail_fast=verdict is Verdict.FAIL, verdict_only=True,
        )  # fmt: skip
        assert record.verdict is verdict
    record = normcheck.run(llama, op="rms_norm", profile="quick", fail_fast=True, verdict_only=True)
    assert record.verdict is Verdict.FAIL


def test_a_target_without_gradients_passes_and_says_what_was_not_judged() -> None:
    record = normcheck.run(
        rms_norm_without_gradient,
        op="rms_norm",
        dtypes=["float32"],
        profile="quick",
        verdict_only=True,
    )
    assert record.verdict is Verdict.PASS
    (check,) = [c for c in record.checks if c.property == "gradients"]
    assert check.verdict is Verdict.NOT_JUDGED
    assert "autograd" in check.reason


def test_a_declared_narrower_accumulation_is_judged_as_such() -> None:
    def single(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        y = rms_norm(x.float(), None if weight is None else weight.float(), eps)
        return y.to(x.dtype)

    for policies, verdict in (((), Verdict.FAIL), (("accumulation=float32",), Verdict.PASS)):
        record = normcheck.run(
            single, op="rms_norm", dtypes=["float64"], profile="quick", policies=policies,
            properties=["forward_accuracy"], verdict_only=True)  # fmt: skip
        assert record.verdict is verdict


def test_a_target_without_eps_is_judged_at_a_declared_one() -> None:
    def own(x: Tensor, weight: Tensor | None) -> Tensor:
        return rms_norm(x, weight, 1e-3)

    for fixed, verdict in (({}, Verdict.FAIL), ({"eps": 1e-3}, Verdict.PASS)):
        record = normcheck.run(
            own, op="rms_norm", dtypes=["float32"], profile="quick", fixed=fixed,
            fail_fast=verdict is Verdict.FAIL, verdict_only=True,
        )  # fmt: skip
        assert record.verdict is verdict
        assert "eps" in record.binding


def test_hypothesis_settings_of_the_user_stay_untouched() -> None:
    from hypothesis import settings

    before = settings.default
    normcheck.run(rms_norm, dtypes=["float32"], profile="quick", verdict_only=True)
    assert settings.default is before


def test_quick_calls_a_further_dtype_in_other_ways_on_four_cases() -> None:
    both = normcheck.run(
        rms_norm, dtypes=["bfloat16", "float32"], profile="quick", verdict_only=True
    )
    alone = normcheck.run(rms_norm, dtypes=["bfloat16"], profile="quick", verdict_only=True)
    cases = {(c.property, c.dtype): c.cases for c in both.checks}
    assert cases["layout_independence", "bfloat16"] == 4
    assert cases["layout_independence", "float32"] > 8
    single = {c.property: c.cases for c in alone.checks}
    assert single["layout_independence"] > 8, "the only dtype is the leading one"
    assert single["forward_accuracy"] == cases["forward_accuracy", "bfloat16"]
