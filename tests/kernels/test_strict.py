"""Mode "strict" returns the bits of its model, in the interpreter and in what is compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = Path(__file__).parent


# The one that does most has more: `make kernels` compares all ops in 204.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "least"),
    [("rms_norm", 36), ("layer_norm", 36), ("l2_norm", 36), ("add_rms_norm", 36),
     ("add_layer_norm", 48), ("group_norm", 24), ("batch_norm", 24)],
)  # fmt: skip
def test_the_interpreter_has_the_bits_of_the_model(op: str, least: int) -> None:
    words = [sys.executable, str(HERE / "strict_bits.py"), f"{least}", op]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[op]
    assert set(found) == {"f32", "bf16", "f16", "f64"}
    for cases, different in found.values():
        assert cases == least
        assert different == []
