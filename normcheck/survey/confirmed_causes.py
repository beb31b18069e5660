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
    """

    heading: str
    distribution: str
    version: str
    subjects: tuple[str, ...]
    dtypes: tuple[str, ...]
    tensors: tuple[str, ...]


_HALVES = ("float16", "bfloat16")
_ALL = (*_HALVES, "float32")
_GRADIENTS = ("grad_",)
_ANY = ("y", "grad_", "running_")


def _torch(*names: str) -> tuple[str, ...]:
    return tuple(f"torch_eager.{name}" for name in names)


_LAYER = _torch("functional.layer_norm", "nn.LayerNorm")
_LAYER += ("timm.LayerNorm", "timm.LayerNorm2d", "torchvision.LayerNorm2d")
_LAYER += ("transformers.ConvNextLayerNorm", "transformers.ConvNextLayerNorm-channels_first")
_GROUP = _torch("functional.group_norm", "nn.GroupNorm")
_BATCH = _torch("functional.batch_norm", "nn.BatchNorm1d", "nn.BatchNorm2d")
_INSTANCE = _torch("functional.instance_norm", "nn.InstanceNorm1d", "nn.InstanceNorm2d")
_ONNX = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "LpNormalization")
_KERAS = ("GroupNormalization", "BatchNormalization")

# The order matters where two explain the same: the first that fits is printed.
CAUSES: tuple[Cause, ...] = (
    Cause(
        "LayerNorm: statistics saved for backward", "torch", "2.13.0", _LAYER, _HALVES, _GRADIENTS
    ),
    # The page tells of half precision in every layout under the same heading.
    Cause("GroupNorm: channels_last", "torch", "2.13.0", _GROUP, _ALL, _ANY),
    Cause("GroupNorm: channels_last", "torch", "2.13.0", ("timm.GroupNorm1",), _HALVES, _GRADIENTS),
    Cause("BatchNorm: statistics in half precision", "torch", "2.13.0", _BATCH, _HALVES, _ANY),
    Cause(
        "InstanceNorm: statistics in half precision", "torch", "2.13.0", _INSTANCE, _HALVES, _ANY
    ),
    Cause(
        "normalize: norm in half precision",
        "torch",
        "2.13.0",
        _torch("functional.normalize"),
        _HALVES,
        _ANY,
    ),
    Cause("Serial sums", "torch", "2.13.0", _BATCH, ("float32",), _ANY),
    Cause(
        "Serial sums",
        "onnxruntime",
        "1.31.1",
        tuple(f"onnxruntime.{name}" for name in _ONNX),
        ("float32",),
        ("y",),
    ),
    Cause(
        "Serial sums",
        "tinygrad",
        "0.14.0",
        ("tinygrad.LayerNorm", "tinygrad.RMSNorm"),
        ("float32",),
        ("y",),
    ),
    Cause(
        "Flax: fast variance",
        "flax",
        "0.12.8",
        ("flax.linen.LayerNorm", "flax.nnx.LayerNorm"),
        ("float32",),
        _ANY,
    ),
    Cause(
        "Terms of dx rounded before they cancel",
        "transformers",
        "5.23.0",
        ("transformers.T5LayerNorm",),
        _HALVES,
        _GRADIENTS,
    ),
    Cause(
        "Terms of dx rounded before they cancel",
        "flax",
        "0.12.8",
        ("flax.linen.LayerNorm-two-pass", "flax.linen.RMSNorm"),
        ("bfloat16",),
        _GRADIENTS,
    ),
    Cause(
        "Keras: one-pass variance",
        "keras",
        "3.15.1",
        tuple(f"keras.{name}-on-torch" for name in _KERAS),
        _ALL,
        _ANY,
    ),
    Cause(
        "Keras: UnitNormalization",
        "keras",
        "3.15.1",
        ("keras.UnitNormalization-on-torch",),
        _HALVES,
        _ANY,
    ),
    Cause(
        "Keras: UnitNormalization",
        "keras",
        "3.15.1",
        ("keras.UnitNormalization-on-torch",),
        ("float32",),
        _GRADIENTS,
    ),
    Cause(
        "Frozen batch norm: scale and shift in half precision",
        "transformers",
        "5.23.0",
        ("transformers.DetrFrozenBatchNorm2d",),
        _HALVES,
        ("y", "grad_x"),
    ),
    Cause(
        "Nemotron: offset weight in half precision",
        "transformers",
        "5.23.0",
        ("transformers.NemotronLayerNorm1P",),
        _HALVES,
        _ANY,
    ),
    Cause(
        "Frozen batch norm: scale and shift in half precision",
        "torchvision",
        "0.28.0",
        ("torchvision.FrozenBatchNorm2d",),
        _HALVES,
        ("y", "grad_x"),
    ),
    Cause(
        "timm: sums in half precision",
        "timm",
        "1.0.31",
        ("timm.RmsNorm2d", "timm.LayerNormExp2d"),
        _HALVES,
        _ANY,
    ),
    Cause(
        "tinygrad: sums in half precision",
        "tinygrad",
        "0.14.0",
        ("tinygrad.LayerNorm", "tinygrad.GroupNorm"),
        ("float16",),
        ("y",),
    ),
)
