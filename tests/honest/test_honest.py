"""Every honest implementation passes: what it cannot do is listed, and nothing of it fails."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import normcheck
from normcheck.config import DTYPES
from normcheck.properties import registry
from normcheck.record import Check, Record, Verdict

HERE = Path(__file__).parent
OWN = f"{HERE / 'implementations.py'}:"
CHANNELS = f"{HERE / 'channels.py'}:"
THIRD_PARTY = f"{HERE / 'third_party'}/"
HALVES = ("float16", "bfloat16")
WIDE = ("float32", "float64")
HALF_GRADIENTS = ("gradients", "gradient_identities")


@dataclass(frozen=True)
class Honest:
    """One implementation and what it declares."""

    name: str
    op: str
    place: str = OWN
    policies: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = DTYPES
    without: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        dtypes = "" if self.dtypes == DTYPES else f"-{'-'.join(self.dtypes)}"
        return self.place.rpartition("/")[2].rpartition(":")[0] + f":{self.name}{dtypes}"

    def run(self, profile: str = "quick") -> Record:
        properties = tuple(name for name in registry.names() if name not in self.without)
        return normcheck.run(
            f"{self.place}{self.name}",
            op=self.op,
            dtypes=self.dtypes,
            profile=profile,
            policies=self.policies,
            properties=properties,
            verdict_only=True,
        )


LAYER = [
    Honest("layer_norm_two_pass", "layer_norm"),
    Honest("layer_norm_welford", "layer_norm"),
    Honest("layer_norm_scale_and_shift", "layer_norm"),
    Honest("layer_norm_in_float64", "layer_norm"),
    Honest("layer_norm_cast_then_scale", "layer_norm"),
    Honest("layer_norm_cast_each_step", "layer_norm"),
    Honest("layer_norm_into", "layer_norm"),
    Honest("layer_norm_in_place", "layer_norm", policies=("inplace=x",)),
    Honest("layer_norm", "layer_norm", "torch.nn.functional:", dtypes=WIDE),
    Honest("LayerNorm", "layer_norm", "torch.nn:", dtypes=WIDE),
    # Gradients of half precision are docs/findings.md, "LayerNorm: statistics saved for backward".
    Honest("layer_norm", "layer_norm", "torch.nn.functional:", (), HALVES, HALF_GRADIENTS),
]
RMS = [
    Honest("rms_norm_two_pass", "rms_norm"),
    Honest("rms_norm_llama", "rms_norm"),
    Honest("rms_norm_gemma", "rms_norm", policies=("weight=one_plus",)),
    Honest("rms_norm_into", "rms_norm"),
    Honest("rms_norm", "rms_norm", "torch.nn.functional:"),
    Honest("RMSNorm", "rms_norm", "torch.nn:"),
    # Gradients of half precision are docs/findings.md, "T5LayerNorm: terms of dx".
    Honest("rms_norm_t5", "rms_norm", dtypes=WIDE),
    Honest("rms_norm_t5", "rms_norm", dtypes=HALVES, without=HALF_GRADIENTS),
]
RESIDUAL = [
    Honest("add_rms_norm_unrounded", "add_rms_norm"),
    Honest("add_rms_norm_rounded", "add_rms_norm"),
    Honest("add_rms_norm_in_place", "add_rms_norm", policies=("inplace=x,residual",)),
    Honest("add_layer_norm_unrounded", "add_layer_norm"),
    Honest("add_layer_norm_rounded", "add_layer_norm"),
]
OTHERS = [
    Honest("l2_norm_two_pass", "l2_norm"),
    # Its sum of squares is serial: docs/findings.md, "normalize: serial sums".
    Honest("l2_norm_functional", "l2_norm", policies=("summation=serial",), dtypes=WIDE),
    Honest("group_norm_two_pass", "group_norm", CHANNELS),
    Honest("batch_norm_two_pass", "batch_norm", CHANNELS),
    Honest("instance_norm_two_pass", "instance_norm", CHANNELS),
    # Their sums are serial in some layouts: docs/findings.md, "BatchNorm: serial sums".
    Honest("batch_norm", "batch_norm", "torch.nn.functional:", ("summation=serial",), WIDE),
    # docs/findings.md, "InstanceNorm: gradient of a batch of one" and "Empty batches".
    Honest(
        "instance_norm",
        "instance_norm",
        "torch.nn.functional:",
        ("summation=serial",),
        WIDE,
        without=("layout_independence", "degenerate_arguments"),
    ),
]
TRANSFORMERS = [
    # All three compute in float32 whatever they are given.
    Honest(
        "LlamaRMSNorm", "rms_norm", "transformers.models.llama.modeling_llama:", dtypes=DTYPES[:3]
    ),
    Honest("T5LayerNorm", "rms_norm", "transformers.models.t5.modeling_t5:", (), ("float32",)),
    Honest(
        "T5LayerNorm", "rms_norm", "transformers.models.t5.modeling_t5:", (), HALVES, ("gradients",)
    ),
    Honest(
        "GemmaRMSNorm",
        "rms_norm",
        "transformers.models.gemma.modeling_gemma:",
        ("weight=one_plus",),
        DTYPES[:3],
    ),
]
NUMPY = Honest("layer_norm", "layer_norm", f"{THIRD_PARTY}numpy_norms.py:")
# ONNX keeps epsilon as a float32 attribute: in float64 it is another number than the case's.
ONNX = Honest("layer_norm", "layer_norm", f"{THIRD_PARTY}onnx_norms.py:", dtypes=DTYPES[:3])
FLAX = f"{THIRD_PARTY}jax_norms.py:"
# XLA flushes subnormal numbers on the CPU: docs/findings.md. Declared, it is a convention.
FLUSHES = ("subnormals=flushed",)
JAX = [
    Honest("rms_norm", "rms_norm", FLAX, FLUSHES, ("float32", "bfloat16")),
    # Flax adds gradients of two branches in half precision: docs/findings.md.
    Honest("flax_layer_norm_slow_variance", "layer_norm", FLAX, FLUSHES, ("float32",)),
    Honest("flax_rms_norm", "rms_norm", FLAX, FLUSHES, ("float32",)),
]
FLUSHED = [Honest("rms_norm", "rms_norm", FLAX, dtypes=("bfloat16",))]
COMPILED = f"{HERE / 'compiled.py'}:"


def failing(record: Record) -> list[str]:
    return [
        f"{check.id}: {check.worst_ratio:.3g} at {check.worst_case}"
        for check in record.checks
        if check.verdict is Verdict.FAIL
    ]


def assert_passes(honest: Honest, profile: str = "quick") -> None:
    record = honest.run(profile)
    assert failing(record) == []
    assert record.verdict is Verdict.PASS
    assert not record.incomplete


def by_id(found: list[Honest]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("honest", found, ids=[honest.id for honest in found])


@by_id(LAYER + RMS + RESIDUAL + OTHERS)
def test_an_honest_implementation_passes(honest: Honest) -> None:
    assert_passes(honest)


@pytest.mark.slow
@by_id([LAYER[0], RMS[1], RESIDUAL[1], *(h for h in OTHERS if h.place == CHANNELS)])
def test_an_honest_implementation_passes_in_standard_too(honest: Honest) -> None:
    assert_passes(honest, "standard")


@by_id(TRANSFORMERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_norm_of_transformers_passes(honest: Honest) -> None:
    pytest.importorskip("transformers")
    assert_passes(honest)


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
    pytest.importorskip("flax" if "flax" in honest.name else "jax")
    assert_passes(honest)


def smallest_failure(check: Check) -> str:
    return check.failures[0].case


@pytest.mark.slow
@by_id(FLUSHED)
def test_a_jax_function_fails_only_where_xla_flushes_subnormal_numbers(honest: Honest) -> None:
    pytest.importorskip("flax" if "flax" in honest.name else "jax")
    wrong = [check for check in honest.run().checks if check.verdict is Verdict.FAIL]
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
    )
    (check,) = record.checks
    assert check.verdict is Verdict.FAIL
    assert "offset1e3" in smallest_failure(check)
    assert "one-pass variance" in check.failures[0].likely


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_function_passes(dtype: str) -> None:
    assert_passes(Honest("layer_norm_compiled", "layer_norm", COMPILED, dtypes=(dtype,)))
