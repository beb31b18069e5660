"""Our kernels as targets where there is no GPU: Triton's interpreter runs them, element by element.

``normcheck run tests/kernels/interpreted.py:rms_norm`` judges them. Nothing else may have imported
Triton before: it decides once whether it interprets.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
# As `python -m pytest` does.
sys.path.insert(0, str(Path(__file__).parents[2]))

from normcheck.kernels.add_layer_norm import add_layer_norm
from normcheck.kernels.add_rms_norm import add_rms_norm
from normcheck.kernels.batch_norm import batch_norm
from normcheck.kernels.group_norm import group_norm
from normcheck.kernels.l2_norm import l2_norm
from normcheck.kernels.layer_norm import layer_norm
from normcheck.kernels.qk_norm import qk_norm
from normcheck.kernels.rms_norm import rms_norm
from normcheck.targets import triton_interpreter

__all__ = [
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "group_norm",
    "l2_norm",
    "layer_norm",
    "qk_norm",
    "rms_norm",
]

triton_interpreter.mend()

strict_layer_norm = partial(layer_norm, mode="strict")
strict_rms_norm = partial(rms_norm, mode="strict")
rms_norm_cast_then_scale = partial(rms_norm, rounding="cast_then_scale")
rms_norm_zero_centered = partial(rms_norm, zero_centered=True)
