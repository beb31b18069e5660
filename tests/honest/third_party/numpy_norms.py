"""A NumPy LayerNorm, as written for tests and for inference without a framework."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def layer_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    values = x.astype(np.promote_types(x.dtype, np.float32))
    deviation = values - values.mean(-1, keepdims=True)
    y = deviation / np.sqrt(np.square(deviation).mean(-1, keepdims=True) + values.dtype.type(eps))
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    rounded: Array = y.astype(x.dtype)
    return rounded
