"""Projects of a user's own, in a folder each."""

from __future__ import annotations

import contextlib
import importlib
import os

import pytest

import normcheck
from normcheck.errors import NormcheckError

KERNELS = """
import torch


def rms_norm(x, weight, eps):
    h = x if x.dtype == torch.float64 else x.float()
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y.to(x.dtype)


def rms_norm_in_half(x, weight, eps):
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def rms_norm_refuses(x, weight, eps):
    raise NotImplementedError("no such kernel")


def rms_norm_returns_list(x, weight, eps):
    return [x]
"""
# Two properties on two formats tell all that the plugin is about.
SETTINGS = """
import contextlib
import importlib
import os

import pytest

import normcheck
from normcheck.errors import NormcheckError


def pytest_normcheck_modify_checks(checks):
    kept = ("forward_accuracy", "gradients")
    checks[:] = [name for name in checks if name.endswith(kept)]
"""


@pytest.fixture(scope="session")
def imported() -> None:
    """Import all that a run imports: pytester unloads what an inner run has, and torch cannot."""
    importlib.import_module("normcheck.plugin.reference")
    importlib.import_module("normcheck.reports.html")
    normcheck.run("torch.nn.functional:rms_norm", dtypes=["float32"], profile="quick")
    with contextlib.suppress(NormcheckError):
        normcheck.run("torch.nn.functional:rms_norm", on="cuda:77")


@pytest.fixture
def project(
    pytester: pytest.Pytester, imported: None, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A project with kernels; two properties of each are checked, in profile quick."""
    # The runs in a test are nobody's workers, though the tests themselves may be.
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(name)
    pytester.makepyfile(mykernels=KERNELS)
    pytester.makeconftest(SETTINGS)
    pytester.makepyprojecttoml(
        '[tool.normcheck]\nprofile = "quick"\ndtype = ["bfloat16", "float32"]\n'
    )
    pytester.syspathinsert()
    return pytester
