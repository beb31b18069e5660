"""Honest implementations, what they declare, and what of them is a finding of its own."""

from dataclasses import dataclass
from pathlib import Path

import normcheck
from normcheck.config import DTYPES
from normcheck.properties import registry
from normcheck.record import Record

HERE = Path(__file__).parent
OWN = f"{HERE / 'implementations.py'}:"
NEW, MASKED = f"{HERE / 'new_ops.py'}:", f"{HERE / 'masked_norms.py'}:"
BEFORE, ONE_PLUS = "gate=before", "weight=one_plus"
CHANNELS = f"{HERE / 'channels.py'}:"
THIRD_PARTY = f"{HERE / 'third_party'}/"
HALVES = ("float16", "bfloat16")
WIDE = ("float32", "float64")
SERIAL = ("summation=serial",)
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

    def run(
        self, profile: str = "quick", dtypes: tuple[str, ...] = (), only: tuple[str, ...] = ()
    ) -> Record:
        asked = only or registry.names()
        properties = tuple(name for name in asked if name not in self.without)
        return normcheck.run(
            f"{self.place}{self.name}",
            op=self.op,
            dtypes=dtypes or self.dtypes,
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
    # dweight of many rows is a serial sum: docs/findings.md, "Serial sums".
    Honest("layer_norm", "layer_norm", "torch.nn.functional:", SERIAL, WIDE),
    Honest("LayerNorm", "layer_norm", "torch.nn:", SERIAL, WIDE),
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
    Honest("l2_norm_functional", "l2_norm", policies=SERIAL, dtypes=WIDE),
    Honest("group_norm_two_pass", "group_norm", CHANNELS),
    Honest("batch_norm_two_pass", "batch_norm", CHANNELS),
    Honest("instance_norm_two_pass", "instance_norm", CHANNELS),
    # Their sums are serial in some layouts: docs/findings.md, "BatchNorm: serial sums".
    # docs/findings.md, "BatchNorm: strided weight".
    Honest(
        "batch_norm",
        "batch_norm",
        "torch.nn.functional:",
        SERIAL,
        WIDE,
        without=("layout_independence",),
    ),
    # docs/findings.md, "InstanceNorm: gradient of a batch of one" and "Empty batches".
    Honest(
        "instance_norm",
        "instance_norm",
        "torch.nn.functional:",
        SERIAL,
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
        "T5LayerNorm", "rms_norm", "transformers.models.t5.modeling_t5:", (), HALVES, HALF_GRADIENTS
    ),
    Honest(
        "GemmaRMSNorm",
        "rms_norm",
        "transformers.models.gemma.modeling_gemma:",
        ("weight=one_plus",),
        DTYPES[:3],
    ),
]
# NumPy adds in pairs along a contiguous axis, and one by one along any other.
NUMPY = Honest("layer_norm", "layer_norm", f"{THIRD_PARTY}numpy_norms.py:", SERIAL)
# ONNX keeps epsilon as a float32 attribute: in float64 it is another number than the case's.
ONNX = Honest("layer_norm", "layer_norm", f"{THIRD_PARTY}onnx_norms.py:", dtypes=DTYPES[:3])
FLAX = f"{THIRD_PARTY}jax_norms.py:"
# XLA flushes subnormal numbers on the CPU: docs/findings.md. Declared, it is a convention.
FLUSHES = ("subnormals=flushed",)
# XLA takes a quarter of a second for every new shape.
SHAPES = ("rank_independence", "batch_split")
JAX = [
    Honest("rms_norm", "rms_norm", FLAX, FLUSHES, ("bfloat16",), SHAPES),
    # Flax adds gradients of two branches in half precision, and XLA's sums over several dimensions
    # are serial: docs/findings.md.
    Honest(
        "flax_layer_norm_slow_variance", "layer_norm", FLAX, FLUSHES + SERIAL, ("float32",), SHAPES
    ),
    Honest("flax_rms_norm", "rms_norm", FLAX, FLUSHES, ("float32",), SHAPES),
]
FLUSHED = [Honest("rms_norm", "rms_norm", FLAX, dtypes=("bfloat16",), without=SHAPES)]
COMPILED = f"{HERE / 'compiled.py'}:"
# Dynamo gives up a function after some dozens of variants, and says so: not judged.
VARIANTS = tuple(
    name
    for name in registry.names()
    if name not in ("forward_accuracy", "gradients", "output_contract", "inputs_unchanged",
                    "forward_determinism", "nonfinite_containment", "implied_statistics")
)  # fmt: skip
NEW_OPS = [
    Honest("weight_norm_two_pass", "weight_norm", NEW),
    Honest("weight_norm_scaled_magnitude", "weight_norm", NEW),
    # docs/findings.md, "weight_norm: second derivatives" and "decomposition"; its sum is serial.
    Honest(
        "weight_norm_torch", "weight_norm", NEW, SERIAL, without=("second_derivatives", "compiled")
    ),
    Honest("qk_norm_fused", "qk_norm", NEW),
    Honest("qk_norm_transformers", "qk_norm", NEW),
    Honest("qk_norm_one_plus", "qk_norm", NEW, (ONE_PLUS,)),
    Honest("qk_norm_into", "qk_norm", NEW),
    Honest("qk_norm_in_place", "qk_norm", NEW, ("inplace=x",)),
    Honest("qk_layer_norm_fused", "qk_layer_norm", NEW),
    Honest("qk_layer_norm_stepwise", "qk_layer_norm", NEW),
    Honest("qk_l2_norm_floor", "qk_l2_norm", NEW),
    Honest("qk_l2_norm_inside", "qk_l2_norm", NEW, ("eps=inside",)),
    Honest("rms_norm_gated_fused", "rms_norm_gated", NEW),
    Honest("rms_norm_gated_qwen3_next", "rms_norm_gated", NEW),
    Honest("rms_norm_gated_stepwise", "rms_norm_gated", NEW),
    Honest("rms_norm_gated_by_exponential", "rms_norm_gated", NEW),
    Honest("rms_norm_gated_by_sigmoid", "rms_norm_gated", NEW),
    Honest("rms_norm_gated_one_plus", "rms_norm_gated", NEW, (ONE_PLUS,)),
    Honest("rms_norm_gated_before", "rms_norm_gated", NEW, (BEFORE,)),
    Honest("rms_norm_gated_before_llama", "rms_norm_gated", NEW, (BEFORE,)),
    Honest("rms_norm_gated_before_stepwise", "rms_norm_gated", NEW, (BEFORE,)),
    Honest("ada_layer_norm_fused", "ada_layer_norm", NEW),
    Honest("ada_layer_norm_modulate", "ada_layer_norm", NEW),
    Honest("ada_layer_norm_functional", "ada_layer_norm", NEW),
    Honest("ada_layer_norm_plain", "ada_layer_norm", NEW, ("weight=plain",)),
    Honest("masked_batch_norm_selected", "masked_batch_norm", MASKED),
    Honest("masked_batch_norm_weighted", "masked_batch_norm", MASKED),
]
