"""Where kernels meet their model: on a GPU with NORMCHECK_DEVICE=cuda, else interpreted."""

from __future__ import annotations

import importlib
import os

__all__ = ["DEVICE"]

DEVICE = os.environ.get("NORMCHECK_DEVICE", "cpu")
if DEVICE == "cpu":
    importlib.import_module("tests.kernels.interpreted")
