"""normcheck.explore: a seed draws the same cases wherever it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRAWING = """
{imports}
from normcheck.api import make_plan
from normcheck.explore import explore

plan = make_plan("torch.nn.functional:{op}", op="{op}", profile="standard")
explore(plan, "float32", lambda case: print(case.id) or 0.0, lambda: False)
"""


def drawn(folder: Path, op: str, imports: str) -> list[str]:
    script = folder / "drawing.py"
    script.write_text(DRAWING.format(imports=imports, op=op))
    done = subprocess.run(
        [sys.executable, script], check=True, capture_output=True, text=True, cwd=folder
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("op", ["rms_norm", "batch_norm"])
def test_the_numbers_in_a_users_modules_change_no_draw(tmp_path: Path, op: str) -> None:
    (tmp_path / "mine.py").write_text(f"SIZES = ({', '.join(map(str, range(100, 1000)))})\n")
    without = drawn(tmp_path, op, "")
    assert len(set(without)) > 30
    assert drawn(tmp_path, op, "import mine") == without
