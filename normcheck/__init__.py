"""Numerical-correctness and failure-mode tests for normalization kernels."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__all__ = ["Case", "Policy", "Record", "contract", "run"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from normcheck.api import run
    from normcheck.cases.case import Case
    from normcheck.plugin.contract import contract
    from normcheck.policy import Policy
    from normcheck.record import Record
else:
    _HOME = {
        "Case": "normcheck.cases.case",
        "Policy": "normcheck.policy",
        "Record": "normcheck.record",
        "contract": "normcheck.plugin.contract",
        "run": "normcheck.api",
    }

    def __getattr__(name):
        # Resolved on first use, so that loading the pytest plugin does not load torch.
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME[name]), name)
