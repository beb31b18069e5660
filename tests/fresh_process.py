"""A process per command line without an import of torch per process.

Python's fork server imports what every command imports, once, and runs nothing: each command is
then a process of its own, with its own state, signals, output and exit status, in a twentieth of
the time that an interpreter needs to come up. Tests of what is imported start an interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Done", "run_python"]

Done = subprocess.CompletedProcess[str]
_SECONDS = 300
# None of them keeps anything of a run; pytest is what the server's children import by themselves.
_IMPORTED = ["pytest", "normcheck.cli.run", "normcheck.api", "normcheck.reports.html", "hypothesis"]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(_IMPORTED)


def run_python(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Done:
    """Do what ``python`` does with such words in a folder, and return what it printed.

    Args:
        words: ``-m``, a module and its arguments; or the path of a script and its arguments.
        folder: Where it runs.
        variables: The environment, all of it.

    Raises:
        subprocess.TimeoutExpired: It was killed after five minutes.
    """
    with tempfile.TemporaryDirectory() as kept:
        streams = Path(kept, "stdout"), Path(kept, "stderr")
        call = (__file__, {"CALL": ([*words], folder, dict(variables), streams)})
        # By its path: a child need not find the tests' package.
        child = _server.Process(target=runpy.run_path, args=call)
        child.start()
        child.join(_SECONDS)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired([*words], _SECONDS)
        out, err = (path.read_text(encoding="utf-8") for path in streams)
        return Done([*words], child.exitcode, out, err)


def _become(
    words: list[str], folder: Path, variables: dict[str, str], streams: tuple[Path, Path]
) -> None:
    """Make this process what was asked for."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, str(folder))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


if "CALL" in globals():
    _become(*globals()["CALL"])
