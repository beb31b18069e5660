"""normcheck.targets.triton_interpreter: bfloat16 as a GPU and torch have it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from normcheck.record import Record
from normcheck.targets import triton_interpreter
from normcheck.targets.triton_interpreter import Bits, narrowed, widened
from tests.fresh_process import run_python

BITS = np.arange(1 << 16, dtype=np.uint16)


def torchs(bits: Bits) -> torch.Tensor:
    return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)


def test_every_bfloat16_is_widened() -> None:
    assert torch.equal(
        torch.from_numpy(widened(BITS)).view(torch.int32), torchs(BITS).float().view(torch.int32)
    )


def test_every_kind_of_float32_is_rounded_as_torch_rounds_it() -> None:
    random = np.random.default_rng(1).integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    # Around every bfloat16, and half way between two of them.
    near = (BITS.astype(np.uint32) << 16)[:, None] + np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001], np.uint32
    )
    values = np.concatenate([random, near.ravel()]).view(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16)
    computed = torchs(narrowed(values))
    same = (computed == expected) & (computed.signbit() == expected.signbit())
    assert bool((same | (computed.isnan() & expected.isnan())).all())


def test_a_float64_is_rounded_once() -> None:
    above = 1.0 + 2.0**-8 + 2.0**-40
    # By way of float32 it would be the tie 1 + 2^-8, and that goes to the even 1.
    assert widened(narrowed(np.array([above, -above]))).tolist() == [1.0078125, -1.0078125]
    assert widened(narrowed(np.array([1.0 + 2.0**-8 - 2.0**-40]))).tolist() == [1.0]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("interpreted")
    script = Path(__file__).with_name("interpreted_bfloat16.py")
    done = run_python([str(script), "found.pt"], folder, os.environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = torch.load(folder / "found.pt")
    return found


OPERATIONS: list[tuple[str, Callable[[Tensor, Tensor], Tensor]]] = [
    ("add", lambda x, y: x + y),
    ("subtract", lambda x, y: x - y),
    ("multiply", lambda x, y: x * y),
    ("divide", lambda x, y: (x.float() / y.float()).bfloat16()),
    ("negate", lambda x, y: -x),
    ("times a number", lambda x, y: x * torch.tensor(1.3).bfloat16()),
    ("maximum", lambda x, y: torch.fmax(x, y)),
    ("choose", lambda x, y: torch.where(x < y, x, y)),
    ("absolute", lambda x, y: x.abs()),
    ("fma", lambda x, y: (x.double() * y.double() + x.double()).bfloat16()),
]


@pytest.mark.parametrize("place", range(len(OPERATIONS)), ids=[name for name, _ in OPERATIONS])
def test_each_operation_is_rounded_as_torch_rounds_it(
    interpreted: dict[str, Any], place: int
) -> None:
    x, y, results = (interpreted[name] for name in ("x", "y", "results"))
    expected = OPERATIONS[place][1](x, y)
    assert x.isfinite().all()
    assert bool(((results[place] == expected) | (results[place].isnan() & expected.isnan())).all())


def test_comparisons_are_of_values(interpreted: dict[str, Any]) -> None:
    x, y = interpreted["x"], interpreted["y"]
    assert torch.equal(interpreted["truths"], torch.stack([x < y, x == x]))


def test_sums_are_rounded_at_each_addition(interpreted: dict[str, Any]) -> None:
    x: Tensor = interpreted["x"]
    # Of 2^k numbers, k roundings at most, each of half an ulp, 2^-8, of sums of absolute values.
    for found, terms, roundings in (("total", x[None], 10), ("lines", x.view(32, -1), 5)):
        error = (interpreted[found].double() - terms.double().sum(1)).abs()
        assert bool((error <= roundings * 2.0**-8 * terms.double().abs().sum(1)).all())
    # Not what float32 would give: every addition was rounded.
    lines = x.view(32, -1)
    assert not torch.equal(interpreted["lines"], lines.float().sum(1).bfloat16())
    assert torch.equal(interpreted["largest"], x.max()[None])


def test_a_float_has_the_type_that_it_is_compiled_with(interpreted: dict[str, Any]) -> None:
    # A sum of bfloat16 and float32 is of float32: bfloat16 would round 1e-5 away.
    assert torch.equal(interpreted["sums"], interpreted["x"].float() + torch.tensor(1e-5))
    single, double = interpreted["exact"]
    assert single.unique().tolist() == [torch.tensor(1e-5).item()]
    assert double.unique().tolist() == [1e-5]


def test_scans_that_combine_by_operations_are_right(interpreted: dict[str, Any]) -> None:
    assert torch.equal(interpreted["maxima"], interpreted["x"].cummax(0).values)


def test_an_axis_counted_from_the_end_is_kept(interpreted: dict[str, Any]) -> None:
    assert torch.equal(interpreted["kept"], interpreted["lines"])


def test_two_threads_keep_their_places_in_the_grid(interpreted: dict[str, Any]) -> None:
    assert torch.equal(interpreted["places"], torch.arange(200).int().expand(6, 200))


def test_what_is_not_mended_is_refused(interpreted: dict[str, Any]) -> None:
    assert "Triton's interpreter has no atomic operations on bfloat16" in interpreted["refusal"]


def test_a_reader_is_told(interpreted: dict[str, Any]) -> None:
    assert interpreted["note"] == (
        "Triton kernels run in Triton's interpreter, with bfloat16 rounded as a GPU rounds it"
    )


@pytest.mark.parametrize("value", ["", "0", "FALSE", "off"])
def test_without_the_interpreter_nothing_is_said(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", value)
    assert triton_interpreter.mend() == ""


WRONG = '''
import torch, triton
import triton.language as tl

@triton.jit
def copy(x, y, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + place, tl.load(x + place, mask=place < count), mask=place < count)

def l2_norm(x, eps=1e-12):
    """A copy is not normalised."""
    x = x.contiguous()
    y = torch.empty_like(x)
    copy[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y
'''


def test_a_failure_is_seen_again_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    words = ["-m", "normcheck", "run", "wrong.py:l2_norm", "--dtype", "float32", "--json", "r.json"]
    words += ["--profile", "quick", "--property", "forward_accuracy", "--verdict-only", "-j", "1"]
    done = run_python(words, tmp_path, os.environ | {"TRITON_INTERPRET": "1"})
    assert done.returncode == 1, done.stderr
    assert "TRITON_INTERPRET=1 normcheck repro wrong.py:l2_norm nc1:" in done.stdout
    assert "Triton kernels run in Triton's interpreter, with bfloat16" in done.stdout
    record = Record.model_validate_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert record.command.startswith("TRITON_INTERPRET=1 normcheck run wrong.py:l2_norm ")
    again = [*record.checks[0].failures[0].case.split(), "--script"]
    script = run_python(
        ["-m", "normcheck", "repro", "wrong.py:l2_norm", *again], tmp_path,
        os.environ | {"TRITON_INTERPRET": "1"},
    )  # fmt: skip
    (tmp_path / "shown.py").write_text(script.stdout, encoding="utf-8")
    shown = run_python(["shown.py"], tmp_path, os.environ)
    assert shown.returncode == 0, shown.stderr
    assert float(shown.stdout) == record.checks[0].failures[0].computed


PLAIN = """
import torch

def l2_norm(x, eps=1e-12):
    return x.clone()
"""


def test_what_has_no_kernel_of_triton_is_told_as_ever(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    words = ["-m", "normcheck", "run", "plain.py:l2_norm", "--dtype", "bfloat16", "-j", "1"]
    words += ["--profile", "quick", "--property", "forward_accuracy", "--verdict-only"]
    done = run_python(words, tmp_path, os.environ | {"TRITON_INTERPRET": "1"})
    assert done.returncode == 1, done.stderr
    assert "reproduce normcheck repro plain.py:l2_norm nc1:" in done.stdout
    assert "without normcheck (torch alone):" in done.stdout


def test_why_there_is_no_script_is_said(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    words = ["-m", "normcheck", "repro", "wrong.py:l2_norm", "nc1:l2_norm/bf16/2x8/plain"]
    done = run_python(
        [*words, "--script"], tmp_path, os.environ | {"TRITON_INTERPRET": "1"}
    )  # fmt: skip
    assert done.stdout == ""
    assert "Triton's interpreter gets its bfloat16 wrong without normcheck" in done.stderr
