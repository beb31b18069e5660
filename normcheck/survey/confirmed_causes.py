"""Causes that a script of docs/findings confirms without normcheck."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAUSES", "Cause"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A heading of docs/findings.md, and which failures of a survey it explains.

    Attributes:
        heading: As it stands there.
        distribution: Whose fault it is; its version decides.
        version: Release that was confirmed.
        subjects: Ids of implementations.
        dtypes: Formats that it explains failures in.
        tensors: How the names of the tensors begin that it explains failures of.
        properties: Properties that it explains failures of; empty for any.
    """

    heading: str
    distribution: str
    version: str
    subjects: tuple[str, ...]
    dtypes: tuple[str, ...]
    tensors: tuple[str, ...]
    properties: tuple[str, ...] = ()


_HALVES = ("float16", "bfloat16")
_BFLOAT16 = ("bfloat16",)
_FLOAT16 = ("float16",)
_FLOAT32 = ("float32",)
_ALL = (*_HALVES, *_FLOAT32)
_GRADIENTS = ("grad_",)
_ANY = ("y", "grad_", "running_")
_DEGENERATE = ("degenerate_arguments",)

_TORCH = ("torch", "2.13.0")
_FLAX = ("flax", "0.12.8")
_EQUINOX = ("equinox", "0.13.8")
_KERAS = ("keras", "3.15.1")
_TIMM = ("timm", "1.0.31")
_TINYGRAD = ("tinygrad", "0.14.0")
_TRANSFORMERS = ("transformers", "5.23.0")
_TORCHVISION = ("torchvision", "0.28.0")
_ONNXRUNTIME = ("onnxruntime", "1.31.1")


def _of(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


_LAYER = _of("torch_eager", "functional.layer_norm", "nn.LayerNorm")
_LAYER += ("timm.LayerNorm", "timm.LayerNorm2d", "torchvision.LayerNorm2d")
_LAYER += _of("transformers", "ConvNextLayerNorm", "ConvNextLayerNorm-channels_first")
_GROUP = _of("torch_eager", "functional.group_norm", "nn.GroupNorm")
_GROUP_1 = ("timm.GroupNorm1",)
_BATCH = _of("torch_eager", "functional.batch_norm", "nn.BatchNorm1d", "nn.BatchNorm2d")
_INSTANCE = _of("torch_eager", "functional.instance_norm", "nn.InstanceNorm1d", "nn.InstanceNorm2d")
_NORMALIZE = _of("torch_eager", "functional.normalize")
_COMPILED_LAYER = _of("torch_compiled", "layer_norm")
_COMPILED_NORMALIZE = _of("torch_compiled", "normalize")
_ONE_PASS = _of("flax", "linen.LayerNorm", "nnx.LayerNorm", "linen.GroupNorm", "linen.BatchNorm")
_LATE_SUM = _of("flax", "linen.LayerNorm-two-pass", "linen.RMSNorm")
_ONNX = _of(
    "onnxruntime", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "LpNormalization"
)
_ONNX_INSTANCE = _of("onnxruntime", "InstanceNormalization")
_KERAS_ONE_PASS = _of("keras", "GroupNormalization-on-torch", "BatchNormalization-on-torch")
_KERAS_UNIT = _of("keras", "UnitNormalization-on-torch", "UnitNormalization-on-jax")
_KERAS_BATCH = _of("keras", "BatchNormalization-on-torch")
_KERAS_BATCH_ON_JAX = _of("keras", "BatchNormalization-on-jax")
_TINYGRAD_BATCH = _of("tinygrad", "BatchNorm")
_TINYGRAD_HALF = _of("tinygrad", "LayerNorm", "GroupNorm", "BatchNorm")
_TINYGRAD_SERIAL = _of("tinygrad", "LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm")
_EQUINOX_GROUP = _of("equinox", "nn.GroupNorm")
_DETR = _of("transformers", "DetrFrozenBatchNorm2d")
_FROZEN = _of("torchvision", "FrozenBatchNorm2d")

_SAVED = "LayerNorm: statistics saved for backward"
_CHANNELS_LAST = "GroupNorm: channels_last"
_HALF_BATCH = "BatchNorm: statistics in half precision"
_HALF_INSTANCE = "InstanceNorm: statistics in half precision"
_HALF_NORM = "normalize: norm in half precision"
_BATCH_OF_ONE = "InstanceNorm: gradient of a batch of one"
_EMPTY = "Empty batches"
_SERIAL = "Serial sums"
_FAST = "Flax: fast variance"
_TERMS = "Terms of dx rounded before they cancel"
_EQUINOX_SUMS = "Equinox: parameter gradients in half precision"
_MOMENTS = "Keras: one-pass variance"
_UNIT = "Keras: UnitNormalization"
_SCALE = "Frozen batch norm: scale and shift in half precision"
_NEMOTRON = "Nemotron: offset weight in half precision"
_TIMM_HALF = "timm: sums in half precision"
_TINY_HALF = "tinygrad: sums in half precision"

# The order matters where two explain the same: the first that fits is printed.
CAUSES: tuple[Cause, ...] = (
    # Those of one property first: the rest would explain its failures by something else.
    Cause(_EMPTY, *_TORCH, _INSTANCE, _ALL, ("running_",), _DEGENERATE),
    Cause(_EMPTY, *_TORCH, _GROUP, _ALL, ("grad_weight",), _DEGENERATE),
    Cause(_EMPTY, *_KERAS, _KERAS_BATCH, _ALL, ("running_",), _DEGENERATE),
    Cause(_EMPTY, *_KERAS, _KERAS_BATCH_ON_JAX, _ALL, ("grad_weight",), ("gradients",)),
    Cause(_EMPTY, *_TINYGRAD, _TINYGRAD_BATCH, _ALL, ("running_",), _DEGENERATE),
    Cause(_EMPTY, *_ONNXRUNTIME, _ONNX_INSTANCE, _FLOAT16, ("target",), _DEGENERATE),
    Cause(_BATCH_OF_ONE, *_TORCH, _INSTANCE, _ALL, _GRADIENTS, ("layout_independence",)),
    Cause(_CHANNELS_LAST, *_TORCH, _GROUP, _ALL, ("target",), ("requires_grad_subsets",)),
    Cause(_CHANNELS_LAST, *_TORCH, _GROUP_1, _ALL, ("y",), ("layout_independence",)),
    Cause(_SCALE, *_TRANSFORMERS, _DETR, _FLOAT32, ("y",), ("mixed_dtypes",)),
    Cause(_SCALE, *_TORCHVISION, _FROZEN, _FLOAT32, ("y",), ("mixed_dtypes",)),
    Cause(_SERIAL, *_EQUINOX, _EQUINOX_GROUP, _FLOAT32, ("grad_x",), ("rank_independence",)),
    Cause(
        _EQUINOX_SUMS, *_EQUINOX, _EQUINOX_GROUP, _FLOAT32, ("grad_weight", "grad_bias"),
        ("mixed_dtypes",),
    ),
    Cause(_EQUINOX_SUMS, *_EQUINOX, _EQUINOX_GROUP, _BFLOAT16, ("grad_weight", "grad_bias")),
    Cause(_SAVED, *_TORCH, _LAYER, _HALVES, _GRADIENTS),
    Cause(_SAVED, *_TORCH, _COMPILED_LAYER, _BFLOAT16, _GRADIENTS),
    # The page tells of half precision in every layout under the same heading.
    Cause(_CHANNELS_LAST, *_TORCH, _GROUP, _ALL, _ANY),
    Cause(_CHANNELS_LAST, *_TORCH, _GROUP_1, _HALVES, _GRADIENTS),
    Cause(_HALF_BATCH, *_TORCH, _BATCH, _HALVES, _ANY),
    Cause(_HALF_INSTANCE, *_TORCH, _INSTANCE, _HALVES, _ANY),
    Cause(_HALF_NORM, *_TORCH, _NORMALIZE, _HALVES, _ANY),
    Cause(_HALF_NORM, *_TORCH, _COMPILED_NORMALIZE, _BFLOAT16, ("y", "grad_")),
    Cause(_SERIAL, *_TORCH, _BATCH, _FLOAT32, _ANY),
    Cause(_SERIAL, *_ONNXRUNTIME, _ONNX, _FLOAT32, ("y",)),
    Cause(_SERIAL, *_TINYGRAD, _TINYGRAD_SERIAL, _FLOAT32, ("y", "running_")),
    Cause(_FAST, *_FLAX, _ONE_PASS, _FLOAT32, _ANY),
    Cause(_FAST, *_FLAX, _ONE_PASS, _BFLOAT16, ("y", "grad_weight")),
    Cause(_TERMS, *_TRANSFORMERS, _of("transformers", "T5LayerNorm"), _HALVES, _GRADIENTS),
    Cause(_TERMS, *_FLAX, _LATE_SUM, _BFLOAT16, _GRADIENTS),
    Cause(_TERMS, *_FLAX, _ONE_PASS, _BFLOAT16, ("grad_x",)),
    Cause(_MOMENTS, *_KERAS, _KERAS_ONE_PASS, _ALL, _ANY),
    Cause(_UNIT, *_KERAS, _KERAS_UNIT, _HALVES, _ANY),
    Cause(_UNIT, *_KERAS, _KERAS_UNIT, _FLOAT32, _GRADIENTS),
    Cause(_SCALE, *_TRANSFORMERS, _DETR, _HALVES, ("y", "grad_x")),
    Cause(_SCALE, *_TORCHVISION, _FROZEN, _HALVES, ("y", "grad_x")),
    Cause(_NEMOTRON, *_TRANSFORMERS, _of("transformers", "NemotronLayerNorm1P"), _HALVES, _ANY),
    Cause(_TIMM_HALF, *_TIMM, _of("timm", "RmsNorm2d", "LayerNormExp2d"), _HALVES, _ANY),
    Cause(_TINY_HALF, *_TINYGRAD, _TINYGRAD_HALF, _FLOAT16, ("y", "running_")),
)  # fmt: skip
