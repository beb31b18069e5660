"""Flax's norms and plain JAX functions, called as the op is."""

from functools import partial

import jax
from flax import linen
from jax import numpy as jnp

Shape = tuple[int, ...]
# Compiled as a whole: XLA takes a second for the single operations of every shape.
_compiled = partial(jax.jit, static_argnames=("normalized_shape", "eps"))


def _flax_layer_norm(
    x: jax.Array,
    dims: int,
    weight: jax.Array | None,
    bias: jax.Array | None,
    eps: float,
    fast: bool,
) -> jax.Array:
    axes = tuple(range(-dims, 0))
    given = {"scale": weight, "bias": bias}
    module = linen.LayerNorm(
        epsilon=eps,
        use_scale=weight is not None,
        use_bias=bias is not None,
        reduction_axes=axes,
        feature_axes=axes,
        use_fast_variance=fast,
    )
    parameters = {name: value for name, value in given.items() if value is not None}
    y: jax.Array = module.apply({"params": parameters}, x)  # type: ignore[assignment]  # no state
    return y


@_compiled
def flax_layer_norm(
    x: jax.Array,
    normalized_shape: Shape,
    weight: jax.Array | None,
    bias: jax.Array | None,
    eps: float,
) -> jax.Array:
    """Flax's default: the variance is E[x^2] - E[x]^2."""
    return _flax_layer_norm(x, len(normalized_shape), weight, bias, eps, fast=True)


@_compiled
def flax_layer_norm_slow_variance(
    x: jax.Array,
    normalized_shape: Shape,
    weight: jax.Array | None,
    bias: jax.Array | None,
    eps: float,
) -> jax.Array:
    return _flax_layer_norm(x, len(normalized_shape), weight, bias, eps, fast=False)


@partial(jax.jit, static_argnames="eps")
def flax_rms_norm(x: jax.Array, weight: jax.Array | None, eps: float) -> jax.Array:
    module = linen.RMSNorm(epsilon=eps, use_scale=weight is not None)
    given = {} if weight is None else {"scale": weight}
    y: jax.Array = module.apply({"params": given}, x)  # type: ignore[assignment]  # no state
    return y


@partial(jax.jit, static_argnames="eps")
def rms_norm(x: jax.Array, weight: jax.Array | None, eps: float) -> jax.Array:
    values = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = values * jax.lax.rsqrt(jnp.square(values).mean(-1, keepdims=True) + eps)
    return (y if weight is None else y * weight).astype(x.dtype)


@partial(jax.jit, static_argnames="eps")
def layer_norm(
    x: jax.Array, weight: jax.Array | None, bias: jax.Array | None, eps: float
) -> jax.Array:
    values = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    deviation = values - values.mean(-1, keepdims=True)
    y = deviation * jax.lax.rsqrt(jnp.square(deviation).mean(-1, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).astype(x.dtype)
