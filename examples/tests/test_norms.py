"""One line for each norm; --normcheck-profile standard tries more."""

import normcheck
import pytest
import torch

from fastnorms.functional import rms_norm
from fastnorms.modules import LayerNorm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

test_rms_norm = normcheck.contract(rms_norm)
test_layer_norm = normcheck.contract(LayerNorm, op="layer_norm")


@pytest.fixture
def kernels():
    return pytest.importorskip("fastnorms.triton_kernels")


@normcheck.contract(op="rms_norm", device=DEVICE, dtypes=["bfloat16", "float32"])
def test_triton_rms_norm(x, weight, eps, kernels):
    # The kernel multiplies by a weight in any case.
    return kernels.rms_norm(x, x.new_ones(x.shape[-1:]) if weight is None else weight, eps)
