"""Time a new user's way: from an empty environment to a first verdict on their own function.

``python tests/benchmarks/first_verdict.py`` types what docs/pytest.md says, with the kernel of
README.md and the versions of constraints.txt. It needs a package index, and some minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"```python my_norm.py\n(.*?)```", re.DOTALL)


def _time(what: str, words: list[str], folder: Path, status: int) -> None:
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    taken = time.perf_counter() - began
    if done.returncode != status:
        sys.exit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    sys.stdout.write(f"{what:<20} {taken:6.1f} s\n")


def main() -> None:
    """Print what each step takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kernel = FENCE.search((ROOT / "README.md").read_text(encoding="utf-8"))
        assert kernel is not None, "README.md shows no my_norm.py"
        (folder / "my_norm.py").write_text(kernel[1], encoding="utf-8")
        venv.create(folder / "env", with_pip=True)
        tools = folder / "env" / "bin"
        _time("pip install", [
            f"{tools / 'pip'}", "install", "-q", "-c", f"{ROOT / 'constraints.txt'}",
            "torch==2.13.0", f"normcheck[pytest] @ {ROOT.as_uri()}",
        ], folder, 0)  # fmt: skip
        judge = [f"{tools / 'pytest'}", "-q", "--normcheck", "my_norm:layer_norm"]
        # The kernel is wrong: its tests fail.
        _time("first verdict, quick", [*judge, "--normcheck-profile", "quick", "-x"], folder, 1)
        _time("all of standard", judge, folder, 1)


if __name__ == "__main__":
    main()
