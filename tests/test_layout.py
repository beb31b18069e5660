"""The repository layout and the package mapping in pyproject.toml agree."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SIBLINGS = ("kernels", "properties", "reports", "service")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


@pytest.mark.parametrize("name", SIBLINGS)
def test_sibling_is_mapped_linked_and_has_no_init(name: str) -> None:
    assert SETUPTOOLS["package-dir"][f"normcheck.{name}"] == name
    assert (ROOT / "normcheck" / name).samefile(ROOT / name)
    assert not (ROOT / name / "__init__.py").exists(), (
        f"{name}/__init__.py would shadow PyPI {name}"
    )


def test_every_folder_with_modules_is_listed_as_a_package() -> None:
    folders = {
        path.parent.relative_to(ROOT)
        for top in ("normcheck", *SIBLINGS)
        for path in (ROOT / top).rglob("*.py")
    }
    packages = {
        ".".join(folder.parts if folder.parts[0] == "normcheck" else ("normcheck", *folder.parts))
        for folder in folders
    }
    # kernels and service hold no module yet; they are listed, so that the first one ships.
    assert packages | {"normcheck.kernels", "normcheck.service"} == set(SETUPTOOLS["packages"])


def test_no_module_imports_a_sibling_under_its_bare_name() -> None:
    # In a process of its own: Transformers probes for the PyPI package `kernels`.
    files = [p for top in ("normcheck", *SIBLINGS) for p in (ROOT / top).rglob("*.py")]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]
    modules = [n if n.startswith("normcheck") else f"normcheck.{n}" for n in names]
    modules = [n.removesuffix(".__init__") for n in modules if not n.endswith("__main__")]
    probe = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        f"print(sorted(set({SIBLINGS}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert len(modules) > 50
    assert done.stdout.strip() == "[]"


def test_the_top_level_holds_nothing_else() -> None:
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    made = {"build", "dist", "normcheck-demo", "normcheck.egg-info"}
    assert folders - made == {"normcheck", *SIBLINGS, "tests", "docs", "examples"}


def test_no_file_has_more_than_300_lines() -> None:
    files = [p for top in ("normcheck", *SIBLINGS, "tests") for p in (ROOT / top).rglob("*.py")]
    assert files
    assert not [p for p in files if len(p.read_text().splitlines()) > 300]
