"""tinygrad LayerNorm: deviations are squared in float16, where 300^2 is infinite."""

import numpy as np
from tinygrad import Tensor, nn

x = np.array([[-300.0, 300.0, -300.0, 300.0]], np.float16)
y = nn.LayerNorm(4, elementwise_affine=False)(Tensor(x)).numpy().astype(np.float64)
exact = x.astype(np.float64) / np.sqrt(300.0**2 + 1e-5)
print(f"computed {y[0, 1]}")
print(f"exact {exact[0, 1]:.5f}")
assert np.abs(y - exact).max() > 0.1, "the output is right here"
