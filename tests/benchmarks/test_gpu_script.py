"""What times our kernels on a GPU runs anywhere, on torch's operators in their place."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("gpu.py")


def test_every_op_is_timed_in_both_directions(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    words = [sys.executable, str(SCRIPT), "--device", "cpu", "--elements", "4096", "--width", "8"]
    words += ["--seconds", "0.001", "--uncompiled", "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True)
    # Behind a copy: nothing here is fast.
    assert done.returncode == 1, done.stderr
    document = json.loads(file.read_text(encoding="utf-8"))
    found = document["figures"]
    assert document["finished"]
    assert document["raised"] == []
    assert len({each["op"] for each in found}) == 7
    for each in found:
        assert each["seconds"] > 0
        assert each["of_copy"] > 0
    names = [(each["op"], each["direction"], each["implementation"]) for each in found]
    # A peer may be here; ours, strict and torch's are always.
    always = [name for name in names if name[2] in ("normcheck", "normcheck strict", "torch")]
    assert len(always) == 7 * 2 * 3
    rms = found[names.index(("rms_norm", "forward", "torch"))]
    # x, y, weight, and a root per row.
    assert rms["floor_bytes"] == 2 * 4096 * 2 + 8 * 2 + 512 * 4
    assert any("ahead" in said or "reaches" in said for said in document["behind"])
