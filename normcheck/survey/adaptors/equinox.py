"""Equinox: modules of one example, mapped over the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    import jax

__all__ = ["LIBRARY", "group_norm", "layer_norm", "rms_norm"]


def _rows(module: Any, x: jax.Array, dims: int) -> jax.Array:
    import jax

    rows: jax.Array = x.reshape(-1, *x.shape[x.ndim - dims :])
    y: jax.Array = jax.vmap(module)(rows)
    return y.reshape(x.shape)


def _with(module: Any, weight: Any, bias: Any) -> Any:
    import equinox

    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            module = equinox.tree_at(lambda m, name=name: getattr(m, name), module, value)
    return module


def layer_norm(
    x: jax.Array, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> object:
    """``equinox.nn.LayerNorm``."""
    from equinox import nn

    module = nn.LayerNorm(
        normalized_shape, eps, use_weight=weight is not None, use_bias=bias is not None
    )
    return _rows(_with(module, weight, bias), x, len(normalized_shape))


def rms_norm(x: jax.Array, normalized_shape: tuple[int, ...], weight: Any, eps: float) -> object:
    """``equinox.nn.RMSNorm``."""
    from equinox import nn

    module = nn.RMSNorm(normalized_shape, eps, use_weight=weight is not None, use_bias=False)
    return _rows(_with(module, weight, None), x, len(normalized_shape))


def group_norm(x: jax.Array, num_groups: int, weight: Any, bias: Any, eps: float) -> object:
    """``equinox.nn.GroupNorm``, which has both parameters or none."""
    import jax
    from equinox import nn
    from jax import numpy as jnp

    channels = x.shape[1]
    affine = weight is not None or bias is not None
    module = nn.GroupNorm(num_groups, channels, eps, channelwise_affine=affine)
    if affine:
        weight = jnp.ones(channels, x.dtype) if weight is None else weight
        bias = jnp.zeros(channels, x.dtype) if bias is None else bias
    return jax.vmap(_with(module, weight, bias))(x)


# Every shape is compiled for every format: one narrow format stands for both.
def _subject(name: str, function: str) -> Subject:
    return Subject(
        name, function, f":{function}", ("bfloat16", "float32"), ("subnormals=flushed",),
        framework="jax",
    )  # fmt: skip


LIBRARY = Library(
    "Equinox",
    ("equinox", "jax", "jaxlib"),
    (
        _subject("nn.LayerNorm", "layer_norm"),
        _subject("nn.RMSNorm", "rms_norm"),
        _subject("nn.GroupNorm", "group_norm"),
    ),
)
