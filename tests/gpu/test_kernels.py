"""Our kernels on a GPU: `make test-gpu` runs this, and leaves build/gpu.json behind.

Where there is none every test is skipped: not run, never passed.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from normcheck.record import Verdict, read

ROOT = Path(__file__).parents[2]
OPS = (
    "layer_norm", "rms_norm", "l2_norm", "qk_norm", "add_rms_norm", "add_layer_norm", "group_norm",
    "batch_norm",
)  # fmt: skip
DTYPES = "float16,bfloat16,float32,float64"
REPEATS = 20

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: not run"),
]

Found = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """What is to be known of this GPU; kept, whatever fails."""
    kept: Found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": importlib.import_module("triton").__version__,
        "verdicts": {},
        "bits": {},
    }
    yield kept
    (ROOT / "build").mkdir(exist_ok=True)
    text = json.dumps(kept, indent=1)
    (ROOT / "build" / "gpu.json").write_text(text, encoding="utf-8")


def kernel(op: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(f"normcheck.kernels.{op}"), op)
    return function


@pytest.mark.parametrize("op", OPS)
def test_a_kernel_passes_standard(op: str, found: Found, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    target = f"normcheck.kernels.{op}:{op}"
    words = [sys.executable, "-m", "normcheck", "run", target, "--op", op, "--device", "cuda"]
    done = subprocess.run(
        [*words, "--dtype", DTYPES, "--json", str(file), "-q"], capture_output=True, text=True
    )
    assert file.exists(), done.stderr
    record = read(file)
    found["verdicts"][op] = {
        check.id: {"verdict": check.verdict, "worst": check.worst_ratio} for check in record.checks
    }
    assert record.verdict is Verdict.PASS, done.stdout


@pytest.mark.parametrize("op", [op for op in OPS if op != "qk_norm"])
def test_strict_mode_has_the_bits_of_its_model(op: str, found: Found) -> None:
    environment = os.environ | {"NORMCHECK_DEVICE": "cuda"}
    environment.pop("TRITON_INTERPRET", None)
    words = [sys.executable, str(ROOT / "tests" / "kernels" / "strict_bits.py"), "204", op]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.stdout, done.stderr
    compared = json.loads(done.stdout)[op]
    found["bits"][op] = compared
    assert [dtype for dtype, (_, different) in compared.items() if different] == []


@pytest.mark.parametrize("mode", ["fast", "strict"])
@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
def test_a_call_and_its_row_have_the_same_bits_every_time(op: str, mode: str) -> None:
    x = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(4096, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn_like(x)
    results = []
    for _ in range(REPEATS):
        y = kernel(op)(x, weight=weight, mode=mode)
        results.append((y, *torch.autograd.grad(y, (x, weight), dy)))
    assert all(map(torch.equal, results[0], again) for again in results[1:])
    alone = kernel(op)(x[77:78], weight=weight, mode=mode)
    assert torch.equal(alone[0], results[0][0][77])


def test_a_tensor_of_more_than_2_to_the_31_elements() -> None:
    columns = 4096
    rows = (1 << 31) // columns + 3
    x = torch.zeros(rows, columns, device="cuda", dtype=torch.bfloat16)
    x[-1] = torch.randn(columns, device="cuda", dtype=torch.bfloat16)
    weight = torch.ones(columns, device="cuda", dtype=torch.bfloat16)
    y = kernel("rms_norm")(x, weight=weight)
    expected = torch.nn.functional.rms_norm(x[-1].double(), (columns,), eps=1e-6)
    torch.testing.assert_close(y[-1].double(), expected, rtol=2**-8, atol=0)
    assert not y[:-1].any()


def test_timings_are_taken(found: Found, tmp_path: Path) -> None:
    """Whether the figures are good enough is for whoever reads them."""
    file = tmp_path / "timings.json"
    words = [sys.executable, str(ROOT / "tests" / "benchmarks" / "gpu.py"), "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert file.exists(), done.stdout + done.stderr
    found["timings"] = json.loads(file.read_text(encoding="utf-8"))
    assert len(found["timings"]["figures"]) > 100
