"""Judge every mutant of our kernels and print what finds it.

Run as a script; with ``some`` only of those that the tracer finds and of every third that the suite
finds in profile quick. Each has a process of its own, as an
operator of torch is registered once; all are forked from one that has imported what they share.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2]))

from normcheck import api
from normcheck.targets import triton_interpreter
from tests.kernels.mutants import MUTANTS, Mutant

__all__ = ["found"]

triton_interpreter.mend()


def found(mutant: Mutant) -> str:
    """Return what the tracer or the suite says of a mutant; nothing if it passes."""
    with tempfile.TemporaryDirectory() as folder:
        mutant.write(Path(folder, "kernels"))
        importlib.import_module("normcheck.kernels").__path__ = [str(Path(folder, "kernels"))]
        interpreted = importlib.import_module("tests.kernels.interpreted")
        if mutant.found_by == "tracer":
            return _of_tracer(mutant)
        record = api.run(
            getattr(interpreted, mutant.op), op=mutant.op, dtypes=[mutant.dtype],
            profile=mutant.profile, properties=[mutant.found_by], fail_fast=True, verdict_only=True,
        )  # fmt: skip
    failed = [check for check in record.checks if check.verdict == "fail"]
    return "".join(f"{check.worst_ratio:.3g} in {check.worst_case}" for check in failed)


def _of_tracer(mutant: Mutant) -> str:
    all_traced = importlib.import_module("tests.kernels.traced_ops").all_traced
    for situation, trace, _ in all_traced(mutant.op):
        if trace.faults:
            return f"{trace.faults[0]}, {situation}"
    return ""


def main() -> None:
    """Print {mutant: what was found}."""
    chosen = MUTANTS
    if sys.argv[1:] == ["some"]:
        quick = [mutant for mutant in MUTANTS if mutant.profile == "quick"]
        traced = [mutant for mutant in quick if mutant.found_by == "tracer"]
        chosen = traced + [mutant for mutant in quick if mutant.found_by != "tracer"][::3]
    context = multiprocessing.get_context("fork")
    answers = {}
    for mutant in chosen:
        with context.Pool(1) as pool:
            answers[mutant.name] = pool.apply(found, (mutant,))
    sys.stdout.write(json.dumps(answers))
    sys.exit(not all(answers.values()))


if __name__ == "__main__":
    main()
