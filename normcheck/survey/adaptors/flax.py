"""Flax: linen and nnx modules. XLA flushes subnormal numbers on a CPU, and that is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    import jax

__all__ = [
    "LIBRARY",
    "linen_batch_norm",
    "linen_group_norm",
    "linen_layer_norm",
    "linen_layer_norm_slow",
    "linen_rms_norm",
    "nnx_layer_norm",
]


def _linen(name: str, x: jax.Array, weight: Any, bias: Any, **options: Any) -> Any:
    from flax import linen

    given = {"scale": weight, "bias": bias}
    uses = {"use_scale": weight is not None}
    if name != "RMSNorm":
        uses["use_bias"] = bias is not None
    module = getattr(linen, name)(**uses, **options)
    parameters = {key: value for key, value in given.items() if value is not None}
    return module.apply({"params": parameters}, x)


def linen_layer_norm(
    x: jax.Array, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float,
    fast: bool = True,
) -> object:  # fmt: skip
    """``linen.LayerNorm`` as it comes: E[x^2] - E[x]^2."""
    axes = tuple(range(-len(normalized_shape), 0))
    return _linen(
        "LayerNorm", x, weight, bias, epsilon=eps, reduction_axes=axes, feature_axes=axes,
        use_fast_variance=fast,
    )  # fmt: skip


def linen_layer_norm_slow(
    x: jax.Array, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> object:
    """``linen.LayerNorm(use_fast_variance=False)``."""
    return linen_layer_norm(x, normalized_shape, weight, bias, eps, fast=False)


def linen_rms_norm(x: jax.Array, weight: Any, eps: float) -> object:
    """``linen.RMSNorm``."""
    return _linen("RMSNorm", x, weight, None, epsilon=eps)


def linen_group_norm(x: jax.Array, num_groups: int, weight: Any, bias: Any, eps: float) -> object:
    """``linen.GroupNorm``; its channels come last."""
    from jax import numpy as jnp

    last = jnp.moveaxis(x, 1, -1)
    y = _linen("GroupNorm", last, weight, bias, num_groups=num_groups, epsilon=eps)
    return jnp.moveaxis(y, -1, 1)


def linen_batch_norm(x: jax.Array, weight: Any, bias: Any, eps: float) -> object:
    """``linen.BatchNorm`` on a batch; its running statistics are not looked at."""
    from flax import linen

    given = {"scale": weight, "bias": bias}
    module = linen.BatchNorm(
        use_running_average=False, axis=1, epsilon=eps, use_scale=weight is not None,
        use_bias=bias is not None,
    )  # fmt: skip
    parameters = {key: value for key, value in given.items() if value is not None}
    state = module.init({}, x).get("batch_stats", {})
    y, _ = module.apply({"params": parameters, "batch_stats": state}, x, mutable=["batch_stats"])
    return y


def nnx_layer_norm(x: jax.Array, weight: Any, bias: Any, eps: float) -> object:
    """``nnx.LayerNorm`` as it comes."""
    from flax import nnx

    module = nnx.LayerNorm(
        x.shape[-1], epsilon=eps, use_scale=weight is not None, use_bias=bias is not None,
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    if weight is not None:
        module.scale = nnx.Param(weight)
    if bias is not None:
        module.bias = nnx.Param(bias)
    return module(x)


# Every shape is compiled for every format: one narrow format stands for both.
def _subject(name: str, op: str, function: str) -> Subject:
    return Subject(
        name, op, f":{function}", ("bfloat16", "float32"), ("subnormals=flushed",), framework="jax"
    )


LIBRARY = Library(
    "Flax",
    ("flax", "jax", "jaxlib"),
    (
        _subject("linen.LayerNorm", "layer_norm", "linen_layer_norm"),
        _subject("linen.LayerNorm two-pass", "layer_norm", "linen_layer_norm_slow"),
        _subject("linen.RMSNorm", "rms_norm", "linen_rms_norm"),
        _subject("linen.GroupNorm", "group_norm", "linen_group_norm"),
        _subject("linen.BatchNorm", "batch_norm", "linen_batch_norm"),
        _subject("nnx.LayerNorm", "layer_norm", "nnx_layer_norm"),
    ),
)
