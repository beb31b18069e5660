"""Running the command line as a user does: a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fresh_process import Done, run_python

SAMPLES = Path(__file__).with_name("samples.py")
PLAIN = (
    "forward_accuracy", "gradients", "output_contract", "inputs_unchanged", "nonfinite_containment",
    "forward_determinism",
)  # fmt: skip


@pytest.fixture
def normcheck(tmp_path: Path) -> Callable[..., Done]:
    def run(*arguments: str, **variables: str) -> Done:
        return run_python(["-m", "normcheck", *arguments], tmp_path, os.environ | variables)

    return run


@pytest.fixture
def judge(normcheck: Callable[..., Done]) -> Callable[..., tuple[Done, dict[str, Any]]]:
    """Run a sample on one dtype, by what plain calls show, and read the record from stdout."""

    def run(name: str, *options: str) -> tuple[Done, dict[str, Any]]:
        chosen = [word for prop in PLAIN for word in ("--property", prop)]
        done = normcheck(
            "run", f"{SAMPLES}:{name}", "--op", "layer_norm", "--dtype", "float32",
            "--profile", "quick", "--verdict-only", "--json", "-", *options,
            *([] if "--property" in options else chosen),
        )  # fmt: skip
        record: dict[str, Any] = json.loads(done.stdout)
        return done, record

    return run
