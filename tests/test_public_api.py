"""The package root is cheap to import and exports what it says."""

import subprocess
import sys

import pytest

import normcheck

HEAVY = ("torch", "triton", "hypothesis", "numpy", "pydantic", "jinja2")


@pytest.mark.parametrize("name", normcheck.__all__)
def test_exported_name_resolves(name: str) -> None:
    assert getattr(normcheck, name).__name__ == name


def test_exported_names_survive_the_import_of_every_module() -> None:
    probe = "import normcheck, normcheck.engine, normcheck.cli; assert callable(normcheck.run)"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        getattr(normcheck, "nope")  # noqa: B009


def test_importing_the_root_imports_nothing_heavy() -> None:
    probe = f"import normcheck, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_probe_for_heavy_imports_can_fail() -> None:
    probe = f"import normcheck, torch, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout
