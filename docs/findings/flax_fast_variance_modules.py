"""Flax: nnx.LayerNorm, GroupNorm and BatchNorm take E[x^2] - E[x]^2 as well, also in bfloat16."""

import jax
import numpy as np
from flax import linen, nnx

own = {"use_bias": False, "use_scale": False, "epsilon": 1e-6}
batch = own | {"use_running_average": False, "axis": 1}
kinds = {
    "nnx.LayerNorm": lambda x, **o: nnx.LayerNorm(4096, **own, **o, rngs=nnx.Rngs(0))(x),
    "GroupNorm": lambda x, **o: linen.GroupNorm(1, **own, **o).apply({}, x),
    "BatchNorm": lambda x, **o: linen.BatchNorm(**batch, **o).init_with_output({}, x.T)[0].T,
    "LayerNorm": lambda x, **o: linen.LayerNorm(**own, **o).apply({}, x),
}
normal = np.random.default_rng(0).standard_normal((4, 4096))
for dtype, kind in ((dtype, kind) for dtype in ("float32", "bfloat16") for kind in kinds):
    x = jax.numpy.asarray(1000.0 + normal).astype(dtype)
    values = np.asarray(x, np.float64)
    centred = values - values.mean(1, keepdims=True)
    exact = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-6)
    two, y = (np.asarray(kinds[kind](x, use_fast_variance=f), np.float64) for f in (False, True))
    fast, right = np.abs(y - exact).max(), np.abs(two - exact).max()
    print(f"{kind} in {dtype}: {fast:.3g}, two-pass {right:.3g}")
    assert fast > 8 * right, "the output is right here"
print(f"computed {y.flat[at := np.abs(y - exact).argmax()]}\nexact {exact.flat[at]}")
