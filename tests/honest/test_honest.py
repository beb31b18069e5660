"""Every honest implementation passes: what it cannot do is listed, and nothing of it fails."""

import pytest

import normcheck
from normcheck.config import DTYPES
from normcheck.record import Check, Record, Verdict
from tests.honest.corpus import (
    COMPILED,
    FLAX,
    FLUSHED,
    JAX,
    LAYER,
    NEW_OPS,
    NUMPY,
    ONNX,
    OTHERS,
    RESIDUAL,
    RMS,
    TRANSFORMERS,
    VARIANTS,
    Honest,
)  # fmt: skip


def failing(record: Record) -> list[str]:
    return [
        f"{check.id}: {check.worst_ratio:.3g} at {check.worst_case}"
        for check in record.checks
        if check.verdict is Verdict.FAIL
    ]


def assert_passes(honest: Honest, profile: str = "quick", dtypes: tuple[str, ...] = ()) -> None:
    record = honest.run(profile, dtypes)
    assert failing(record) == []
    assert record.verdict is Verdict.PASS
    assert not record.incomplete
    passing = [check for check in record.checks if check.verdict is Verdict.PASS]
    assert [check.id for check in passing if check.worst_ratio > 1.0] == []


def by_turns(honest: Honest, everyone: list[Honest]) -> tuple[str]:
    return (honest.dtypes[everyone.index(honest) % len(honest.dtypes)],)


def by_id(found: list[Honest]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("honest", found, ids=[honest.id for honest in found])


@by_id(LAYER + RMS + RESIDUAL + OTHERS + NEW_OPS)
def test_an_honest_implementation_passes(honest: Honest) -> None:
    """Each in one of its formats, by turns; `make honest` has all of them in all, in standard."""
    assert_passes(honest, dtypes=by_turns(honest, LAYER + RMS + RESIDUAL + OTHERS + NEW_OPS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("honest", "dtype"), [(LAYER[0], "float32"), (RMS[1], "bfloat16"), (OTHERS[3], "float16")]
)
def test_an_honest_implementation_passes_in_standard_too(honest: Honest, dtype: str) -> None:
    assert_passes(honest, "standard", (dtype,))


@by_id(TRANSFORMERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_norm_of_transformers_passes(honest: Honest) -> None:
    pytest.importorskip("transformers")
    assert_passes(honest, dtypes=by_turns(honest, TRANSFORMERS))


def test_a_numpy_function_passes_and_is_listed_where_numpy_has_no_format() -> None:
    record = NUMPY.run()
    assert failing(record) == []
    assert {entry.dtype for entry in record.unsupported} == set(DTYPES)
    bfloat16 = [check for check in record.checks if check.dtype == "bfloat16"]
    assert {check.verdict for check in bfloat16} == {Verdict.NOT_JUDGED}


def test_onnx_runtime_passes() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert_passes(ONNX)


@pytest.mark.slow
@by_id(JAX)
def test_a_jax_function_passes(honest: Honest) -> None:
    """XLA compiles every shape: one function by all properties, the others by two."""
    pytest.importorskip("flax" if "flax" in honest.name else "jax")
    only = () if honest == JAX[0] else ("forward_accuracy", "gradients")
    record = honest.run(only=only)
    assert failing(record) == []
    assert record.verdict is Verdict.PASS


def smallest_failure(check: Check) -> str:
    return check.failures[0].case


@pytest.mark.slow
@by_id(FLUSHED)
def test_a_jax_function_fails_only_where_xla_flushes_subnormal_numbers(honest: Honest) -> None:
    pytest.importorskip("flax" if "flax" in honest.name else "jax")
    record = honest.run(only=("forward_accuracy", "gradients"))
    wrong = [check for check in record.checks if check.verdict is Verdict.FAIL]
    assert wrong
    assert all("/subnormal" in smallest_failure(check) for check in wrong)


@pytest.mark.slow
def test_the_default_variance_of_flax_fails_at_a_large_mean() -> None:
    pytest.importorskip("flax")
    record = normcheck.run(
        f"{FLAX}flax_layer_norm",
        op="layer_norm",
        dtypes=("float32",),
        profile="quick",
        properties=("forward_accuracy",),
        fail_fast=True,
        verdict_only=True,
    )
    (check,) = record.checks
    assert check.verdict is Verdict.FAIL
    assert "offset1e3" in smallest_failure(check)
    assert "one-pass variance" in check.failures[0].likely


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_function_passes(dtype: str) -> None:
    assert_passes(Honest("layer_norm_compiled", "layer_norm", COMPILED, (), (dtype,), VARIANTS))
