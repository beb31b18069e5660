"""One bench as a user takes it: the command of the page, with the files of the page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from normcheck.bench.document import Bench, read

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
FENCES = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Taken:
    """What the page says, what the command printed, and the document that it wrote."""

    said: str
    printed: str
    document: Bench
    path: Path


@pytest.fixture(scope="session")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder = tmp_path_factory.mktemp("bench")
    said = ""
    for language, name, text in FENCES.findall(PAGE):
        if name:
            (folder / name).write_text(text, encoding="utf-8")
        elif language == "console":
            said = text
    command, _, expected = said.removeprefix("$ ").partition("\n")
    words = [sys.executable, "-m", *shlex.split(command), "-q"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.stderr == ""
    assert done.returncode == 0
    return Taken(expected, done.stdout, read(folder / "bench.json"), folder / "bench.json")
