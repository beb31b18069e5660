"""tinygrad BatchNorm: deviations are squared in float16, where 300^2 is infinite."""

import numpy as np
from tinygrad import Context, Tensor, nn

x = np.array([-300.0, 300.0, -300.0, 300.0], np.float16).reshape(1, 1, 4)
module = nn.BatchNorm(1, affine=False)
with Context(TRAINING=1):
    y = module(Tensor(x)).numpy().astype(np.float64)
exact = x.astype(np.float64) / np.sqrt(300.0**2 + 1e-5)
print(f"running variance {module.running_var.numpy()[0]}, but exactly {0.9 + 0.1 * 300**2 * 4 / 3}")
print(f"computed {y[0, 0, 1]}")
print(f"exact {exact[0, 0, 1]:.5f}")
assert np.isinf(module.running_var.numpy()[0]), "the running variance is finite here"
assert np.abs(y - exact).max() > 0.1, "the output is right here"
