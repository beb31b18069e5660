"""Equinox GroupNorm: a parameter is broadcast in bfloat16, and its gradient is added up there."""

import jax
import numpy as np
from jax import numpy as jnp

x, dy = (jax.random.normal(jax.random.key(k), (4, 4096)).astype("bfloat16") for k in (0, 1))
bias = jnp.zeros(4, "bfloat16")


def add(bias, early):
    """As ``equinox.nn.GroupNorm`` does at its end, but for ``early``."""
    wide = bias.astype("float32") if early else bias
    wide = jnp.broadcast_to(wide[:, None], x.shape)
    return (x.astype("float32") + wide.astype("float32")).astype("bfloat16")


late, early = (np.asarray(jax.vjp(lambda b, e=e: add(b, e), bias)[1](dy)[0], float) for e in (0, 1))
exact = np.asarray(dy, float).sum(1)
at = np.abs(late - exact).argmax()
print(f"computed {late[at]}\nexact {exact[at]}")
print(f"{early[at]} where the parameter is converted first")
assert abs(late[at] - exact[at]) > 8 * abs(early[at] - exact[at]), "the gradient is right here"
