"""Our kernels on a GPU: `make test-gpu` runs this, and leaves build/gpu.json behind.

Where there is none every test is skipped: not run, never passed.
"""

from __future__ import annotations

import hashlib
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


FILE = ROOT / "build" / "gpu.json"
# Kernels would be interpreted, on copies of the tensors.
COMPILED = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.fixture
def found() -> Iterator[Found]:
    """What is known of this GPU; kept after each test, whatever ends the next one."""
    kept: Found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": importlib.import_module("triton").__version__,
        "kernels": _digest(),
    }
    before: Found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if before.items() >= kept.items():
        kept = before
    yield kept
    FILE.parent.mkdir(exist_ok=True)
    draft = FILE.with_suffix(".part")
    draft.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    draft.replace(FILE)


def _digest() -> str:
    """Tell kernels that have changed: what was found of others does not hold for them."""
    files = sorted((ROOT / "kernels").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def test_triton_compiles_here() -> None:
    """Otherwise nothing below is of this GPU."""
    triton = importlib.import_module("triton")
    columns = importlib.import_module("normcheck.kernels._columns")
    assert isinstance(columns.add_parts, triton.JITFunction), "unset TRITON_INTERPRET"


def kernel(op: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(f"normcheck.kernels.{op}"), op)
    return function


@pytest.mark.parametrize("op", OPS)
def test_a_kernel_passes_standard(op: str, found: Found, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    target = f"normcheck.kernels.{op}:{op}"
    words = [sys.executable, "-m", "normcheck", "run", target, "--op", op, "--device", "cuda"]
    done = subprocess.run(
        [*words, "--dtype", DTYPES, "--json", str(file), "-q"], capture_output=True, text=True,
        env=COMPILED,
    )  # fmt: skip
    assert file.exists(), done.stderr
    record = read(file)
    found.setdefault("verdicts", {})[op] = {
        check.id: {"verdict": check.verdict, "worst": check.worst_ratio} for check in record.checks
    }
    assert record.verdict is Verdict.PASS, done.stdout


@pytest.mark.parametrize("op", [op for op in OPS if op != "qk_norm"])
def test_strict_mode_has_the_bits_of_its_model(op: str, found: Found) -> None:
    environment = COMPILED | {"NORMCHECK_DEVICE": "cuda"}
    words = [sys.executable, str(ROOT / "tests" / "kernels" / "strict_bits.py"), "204", op]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.stdout, done.stderr
    compared = json.loads(done.stdout)[op]
    found.setdefault("bits", {})[op] = compared
    assert [dtype for dtype, (_, different) in compared.items() if different] == []


@pytest.mark.parametrize("mode", ["fast", "strict"])
@pytest.mark.parametrize("columns", [256, 1000, 4096, 20_000])
@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
def test_a_call_and_its_row_have_the_same_bits_every_time(op: str, columns: int, mode: str) -> None:
    x = torch.randn(4096, columns, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(columns, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn_like(x)
    results = []
    for _ in range(REPEATS):
        y = kernel(op)(x, weight=weight, mode=mode)
        results.append((y, *torch.autograd.grad(y, (x, weight), dy)))
    assert all(map(torch.equal, results[0], again) for again in results[1:])
    alone = kernel(op)(x[77:78], weight=weight, mode=mode)
    assert torch.equal(alone[0], results[0][0][77])


@pytest.mark.parametrize("mode", ["fast", "strict"])
@pytest.mark.parametrize("op", ["group_norm", "batch_norm"])
@pytest.mark.parametrize("side", [7, 28, 112])
def test_channels_have_the_same_bits_every_time(op: str, side: int, mode: str) -> None:
    x = torch.randn(8, 64, side, side, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight, bias = (torch.randn(64, device="cuda", requires_grad=True) for _ in range(2))
    options = {"num_groups": 8} if op == "group_norm" else {"training": True}
    dy = torch.randn_like(x)
    results = []
    for _ in range(REPEATS):
        y = kernel(op)(x, weight=weight, bias=bias, mode=mode, **options)
        results.append((y, *torch.autograd.grad(y, (x, weight, bias), dy)))
    assert all(map(torch.equal, results[0], again) for again in results[1:])


LARGE = (1 << 31) // 4096


@pytest.mark.parametrize("turned", [False, True])
def test_a_tensor_of_more_than_2_to_the_31_elements(turned: bool) -> None:
    """Rows, or columns, more than 2^31 elements apart; every row's own values come back."""
    # Columns are 2^31 elements apart only from here on.
    columns, rows = 4096, LARGE + 200
    x = torch.empty((columns, rows) if turned else (rows, columns), device="cuda",
                    dtype=torch.bfloat16).normal_()  # fmt: skip
    x = x.t() if turned else x
    y = kernel("rms_norm")(x, weight=torch.ones(columns, device="cuda", dtype=torch.bfloat16))
    some = torch.tensor([0, 1, LARGE - 1, LARGE, rows - 1], device="cuda")
    expected = torch.nn.functional.rms_norm(x[some].double(), (columns,), eps=1e-6)
    torch.testing.assert_close(y[some].double(), expected, rtol=2**-8, atol=0)
    assert bool(y.isfinite().all())


def test_gradients_of_more_than_2_to_the_31_elements() -> None:
    columns, rows = 4096, LARGE + 3
    x = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16).normal_()
    x.requires_grad_()
    dy = torch.empty_like(x).normal_()
    (dx,) = torch.autograd.grad(kernel("layer_norm")(x), x, dy)
    some = torch.tensor([0, LARGE - 1, LARGE, rows - 1], device="cuda")
    few = x.detach()[some].double().requires_grad_()
    y = torch.nn.functional.layer_norm(few, (columns,))
    (expected,) = torch.autograd.grad(y, few, dy[some].double())
    torch.testing.assert_close(dx[some].double(), expected, rtol=2**-8, atol=2**-12)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU: not run")
def test_tensors_of_another_gpu_than_the_current_one() -> None:
    x = torch.randn(512, 1000, device="cuda:1")
    with torch.cuda.device(0):
        y = kernel("layer_norm")(x)
    torch.cuda.synchronize(1)
    torch.testing.assert_close(y, torch.nn.functional.layer_norm(x, (1000,)))


def test_timings_are_taken(found: Found, tmp_path: Path) -> None:
    """Whether the figures are good enough is for whoever reads them."""
    file = tmp_path / "timings.json"
    words = [sys.executable, str(ROOT / "tests" / "benchmarks" / "gpu.py"), "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, env=COMPILED)
    assert file.exists(), done.stdout + done.stderr
    found["timings"] = json.loads(file.read_text(encoding="utf-8"))
    assert found["timings"]["finished"], done.stdout + done.stderr
    ours = [said for said in found["timings"]["raised"] if ": normcheck" in said]
    assert ours == []
    assert len(found["timings"]["figures"]) > 100
