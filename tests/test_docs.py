"""Commands and code in the documentation are executed, and print what the documentation says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from normcheck.ops import catalogue
from normcheck.properties import registry
from normcheck.properties.failure_modes import catalogue as failure_modes

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FILES = {name: code for _, name, code in FENCES if name}
CONSOLE = [code for language, _, code in FENCES if language == "console"]
PYTHON = [code for language, name, code in FENCES if language == "python" and not name]


def _commands() -> list[tuple[str, list[str]]]:
    """Every normcheck command of the README, with the lines that it is said to print."""
    found = []
    for block in CONSOLE:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *expected = part.splitlines()
            if command.startswith("normcheck "):
                found.append((command, [line for line in expected if line.strip()]))
    return found


@pytest.mark.parametrize(("command", "expected"), _commands())
def test_readme_command_prints_what_the_readme_says(
    command: str, expected: list[str], tmp_path: Path
) -> None:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode in (0, 1)
    assert expected
    lines = done.stdout.splitlines()
    for line in expected:
        assert line in lines


def test_readme_python_runs() -> None:
    assert PYTHON
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), {})


def test_readme_names_every_property_and_the_number_of_mutants() -> None:
    for name in registry.names():
        assert f"`{name}`" in README
    assert f"the {len(failure_modes.modes())} wrong kernels" in README


def test_changelog_names_every_op() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for name in catalogue.names():
        assert f"`{name}`" in changelog


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_rule_that_a_failure_names_is_in_the_budgets() -> None:
    from normcheck.wording import _RULES

    text = (ROOT / "docs" / "budgets.md").read_text()
    for rule in _RULES.values():
        assert f"Rule {rule}" in text or f"**{rule}**" in text
