"""What a run would have caught, and how far its target reaches."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import normcheck
from normcheck.cli.power import command
from normcheck.power import with_power
from normcheck.properties.failure_modes import catalogue
from normcheck.record import Caught, Check, Limit, Power, Record, Verdict

HONEST = str(Path(__file__).parent.parent / "honest" / "implementations.py")


def run(target: str, op: str, **settings: object) -> Record:
    return normcheck.run(target, op=op, profile="quick", **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def record() -> Record:
    return run(f"{HONEST}:rms_norm_two_pass", "rms_norm", dtypes=["bfloat16", "float32"])


def test_a_run_states_what_it_would_have_caught(record: Record) -> None:
    assert record.power is not None
    modes = {mode.name for mode in catalogue.of_op("rms_norm") if not mode.policies}
    told = {c.mode for c in record.power.caught} | set(record.power.missed)
    told |= {item.name for item in record.power.not_exercised}
    assert modes <= told
    assert len(record.power.caught) >= 20
    assert record.power.missed == []
    kinds = {item.name for item in record.power.not_exercised}
    assert "K16" in kinds  # offsets beyond 32 bits need more memory than a CPU run has


def test_what_is_caught_is_caught_on_the_runs_own_cases(record: Record) -> None:
    assert record.power is not None
    for caught in record.power.caught[:5]:
        mode = catalogue.find(caught.mode)
        again = run(mode.target, "rms_norm", properties=[caught.property], verdict_only=True)
        assert again.verdict is Verdict.FAIL


def test_a_run_without_weight_says_what_it_cannot_see() -> None:
    target = f"{HONEST}:l2_norm_two_pass"
    found = run(target, "l2_norm", dtypes=["float32"])
    assert found.power is not None
    assert found.power.missed == []


def check_of(prop: str, verdict: Verdict = Verdict.PASS) -> Check:
    return Check(
        id=f"layer_norm-float32-cpu-{prop}", property=prop, dtype="float32", device="cpu",
        verdict=verdict, cases=3, worst_ratio=0.5,
    )  # fmt: skip


def test_a_pass_without_power_is_taken_back() -> None:
    power = Power(missed=["layer_norm_shared_scratch"])
    checks = [check_of("reentrancy"), check_of("forward_accuracy")]
    idle, kept = with_power(checks, power)
    assert idle.verdict is Verdict.NOT_JUDGED
    assert idle.reason == "would have caught none of its own failure modes on these cases"
    assert kept.verdict is Verdict.PASS


def test_a_failure_without_power_stays_a_failure() -> None:
    power = Power(missed=["layer_norm_shared_scratch"])
    (kept,) = with_power([check_of("reentrancy", Verdict.FAIL)], power)
    assert kept.verdict is Verdict.FAIL


def test_some_power_is_enough() -> None:
    name = "layer_norm_eps_outside"
    caught = Caught(
        mode=name, kind="K05", property="forward_accuracy", case="nc1:layer_norm/f32/4x8/plain"
    )
    power = Power(caught=[caught], missed=["layer_norm_eps_ignored"])
    (kept,) = with_power([check_of("forward_accuracy")], power)
    assert kept.verdict is Verdict.PASS
    assert power.sentence() == (
        "would have caught 1 of 2 failure modes; not layer_norm_eps_ignored"
    )


def limit(record: Record, axis: str) -> Limit:
    return next(found for found in record.envelope if found.axis == axis)


def test_the_envelope_tells_one_pass_from_two() -> None:
    stable = run(f"{HONEST}:layer_norm_two_pass", "layer_norm", dtypes=["float32"])
    place = "normcheck.properties.failure_modes.layer_norm:one_pass_variance"
    unstable = run(place, "layer_norm", dtypes=["float32"])
    assert limit(stable, "condition").within == pytest.approx(1e5)
    beyond = limit(unstable, "condition").beyond
    assert beyond is not None
    assert beyond < 100
    # Squares leave float32 at the square root of its largest number.
    largest = limit(stable, "largest").within
    assert largest is not None
    assert 1e17 < largest < 2e19


def test_the_envelope_is_left_out_on_request() -> None:
    found = run(f"{HONEST}:rms_norm_two_pass", "rms_norm", dtypes=["float32"], verdict_only=True)
    assert found.power is None
    assert found.envelope == []


def test_the_matrix_is_printed_and_survivors_are_an_error() -> None:
    done = CliRunner().invoke(command, ["--op", "l2_norm"], standalone_mode=False)
    assert done.return_value == 0
    assert "10 of 10 failure modes caught" in done.output
    assert "✓ K05 l2_norm_eps_inside" in done.output


def test_the_matrix_is_a_document_too() -> None:
    done = CliRunner().invoke(command, ["--op", "add_layer_norm", "--json"], standalone_mode=False)
    document = json.loads(done.output)
    assert {entry["mode"] for entry in document} == {
        mode.name for mode in catalogue.of_op("add_layer_norm")
    }
    assert all(entry["detections"] for entry in document)
