"""Mode "strict" returns the bits of its model, in the interpreter and in what is compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "op", ["rms_norm", "layer_norm", "l2_norm", "add_rms_norm", "add_layer_norm"]
)
def test_the_interpreter_has_the_bits_of_the_model(op: str) -> None:
    words = [sys.executable, str(HERE / "strict_bits.py"), op]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[op]
    assert set(found) == {"f32", "bf16", "f16", "f64"}
    for cases, different in found.values():
        assert cases >= 200
        assert different == []
