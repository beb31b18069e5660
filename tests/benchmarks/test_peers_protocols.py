"""The protocols accept and reject what their sources say; fewer rows make it quick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.benchmarks.peers import data
from tests.benchmarks.peers.catalogue import HONEST, OPS, PROTOCOLS
from tests.benchmarks.peers.protocol import Protocol
from tests.benchmarks.peers.rules import (
    absolute_or_relative,
    close,
    not_beyond_both,
    within_fraction,
)
from tests.benchmarks.peers.subject import Subject

SAMPLES = Path(__file__).parent / "peers" / "samples.py"
TWO_PASS = {op: next(s for s in HONEST if s.name == f"{op}_two_pass") for op in OPS}
# The fourteen protocols of RMS norm, and ten of layer norm, that the counts below are about.
RMS = (
    "vLLM core", "flashinfer", "Liger", "quack", "flash-attention", "flashinfer-bench",
    "SOL-ExecBench", "KernelBench", "robust-kbench", "FlagGems modules", "HF kernels",
    "TransformerEngine ops", "TransformerEngine C++", "vLLM batch-invariant",
)  # fmt: skip
LAYER = (
    "Liger", "flashinfer", "quack", "KernelBench", "robust-kbench", "FlagGems", "PyTorch OpInfo",
    "apex", "apex FastLN", "Triton tutorial 05",
)  # fmt: skip


FOUR_MILLION_COLUMNS = ("KernelBench", "robust-kbench")


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(data, "CAP", 1 << 14)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sample(name: str) -> Subject:
    op = "layer_norm" if name.startswith("layer_norm") else "rms_norm"
    return Subject(name, f"{SAMPLES}:{name}", op)


def accepting(name: str, among: tuple[str, ...]) -> set[str]:
    subject = sample(name)
    found = [p for p in PROTOCOLS if p.op == subject.op and p.name in among]
    assert len(found) == len(among)
    return {protocol.name for protocol in found if protocol.accepts(subject)}


def _timed(protocol: Protocol) -> pytest.ParameterSet:
    slow = protocol.op == "layer_norm" and protocol.name in FOUR_MILLION_COLUMNS
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(protocol, marks=marks, id=f"{protocol.op}-{protocol.name}")


by_protocol = pytest.mark.parametrize("protocol", [_timed(protocol) for protocol in PROTOCOLS])


@by_protocol
def test_a_protocol_accepts_two_passes_in_float32(protocol: Protocol) -> None:
    assert protocol.accepts(TWO_PASS[protocol.op])


@by_protocol
def test_a_protocol_accepts_what_the_faults_are_planted_in(protocol: Protocol) -> None:
    name = f"right_{protocol.op}"
    target = f"normcheck.properties.failure_modes.right_ops:{name}"
    assert protocol.accepts(Subject(name, target, protocol.op))


@by_protocol
def test_a_protocol_rejects_zeros(protocol: Protocol) -> None:
    assert not protocol.accepts(sample(f"{protocol.op}_zeros"))


def test_an_implementation_that_raises_is_rejected() -> None:
    quick = tuple(name for name in LAYER if name not in FOUR_MILLION_COLUMNS)
    assert accepting("layer_norm_raises", quick) == set()


def test_one_pass_variance_is_seen_by_one_of_ten_layer_norm_protocols() -> None:
    quick = tuple(name for name in LAYER if name not in FOUR_MILLION_COLUMNS)
    assert set(quick) - accepting("layer_norm_one_pass", quick) == {"quack"}


@pytest.mark.slow
def test_one_pass_variance_is_not_seen_on_long_rows_around_zero() -> None:
    assert accepting("layer_norm_one_pass", FOUR_MILLION_COLUMNS) == set(FOUR_MILLION_COLUMNS)


def test_an_ignored_eps_is_seen_by_three_of_fourteen_rms_norm_protocols() -> None:
    seen = set(RMS) - accepting("rms_norm_without_eps", RMS)
    # The batch-invariant test sees it in rows of 1e-5 and of 1e-6 N; TransformerEngine's C++ test
    # would, were its reference not made from the kernel's own statistics.
    assert seen == {"vLLM core", "vLLM batch-invariant", "TransformerEngine ops"}


def test_an_ignored_weight_passes_where_the_weight_is_one_and_has_no_gradient() -> None:
    assert accepting("rms_norm_without_weight", RMS) == {"KernelBench", "HF kernels"}


def test_an_output_three_percent_too_large_passes_flag_gems_modules_alone() -> None:
    assert accepting("rms_norm_three_percent_too_large", RMS) == {"FlagGems modules"}


def test_a_missing_last_element_passes_where_one_percent_may_be_wrong() -> None:
    assert accepting("rms_norm_last_is_zero", RMS) == {"SOL-ExecBench"}


def test_clipped_outliers_pass_unless_something_is_as_large() -> None:
    assert set(RMS) - accepting("rms_norm_clipped", RMS) == {"vLLM batch-invariant"}


@pytest.mark.parametrize("op", OPS)
def test_nan_passes_no_protocol_that_can_tell_it(op: str) -> None:
    among = {"layer_norm": LAYER, "rms_norm": RMS}[op]
    # In float16 and bfloat16 the C++ rule finds no mismatch in a NaN; its statistics are fitted
    # here to the float32 output, so that there a NaN makes the whole row one.
    allowed = {"TransformerEngine C++"}
    assert accepting(f"{op}_one_nan", among) <= allowed


def test_what_overwrites_its_input_is_rejected_by_vllm_alone() -> None:
    rejecting = set(RMS) - accepting("rms_norm_writes_input", RMS)
    assert "vLLM core" in rejecting
    assert "flashinfer" not in rejecting


NAN = torch.tensor([1.0, float("nan")])
RIGHT = torch.tensor([1.0, 2.0])


def test_nan_fails_allclose_unless_both_are_nan() -> None:
    assert not close(1, 1)(NAN, RIGHT)
    assert not close(1, 1)(NAN, NAN)
    assert close(0, 0, equal_nan=True)(NAN, NAN)


def test_nan_is_no_mismatch_to_transformer_engine() -> None:
    assert not_beyond_both(0, 0, torch.float32)(NAN, RIGHT)
    assert not not_beyond_both(0, 0, torch.float32)(RIGHT + 1, RIGHT)


def test_halves_that_round_one_value_apart_are_forgiven_by_transformer_engine() -> None:
    low = torch.tensor([1.0], dtype=torch.bfloat16)
    high = torch.tensor([1.0 + 2.0**-7], dtype=torch.bfloat16)
    far = torch.tensor([1.0 + 2.0**-6], dtype=torch.bfloat16)
    assert not_beyond_both(0, 0, torch.bfloat16)(low, high)
    assert not not_beyond_both(0, 0, torch.bfloat16)(low, far)


def test_either_scale_excuses_an_element_to_flashinfer_bench() -> None:
    small, large = torch.tensor([1e-3]), torch.tensor([1e3])
    rule = absolute_or_relative(1e-2, 1e-2)
    assert rule(small * 5, small)
    assert rule(large * 1.005, large)
    assert not rule(large * 1.05, large)
    assert not rule(NAN, RIGHT)


def test_one_element_in_a_hundred_may_be_wrong_to_sol() -> None:
    right = torch.ones(200)
    rule = within_fraction(1e-2, 1e-2, 0.99)
    assert rule(torch.cat([right[:2] * 9, right[2:]]), right)
    assert not rule(torch.cat([right[:3] * 9, right[3:]]), right)
    assert not rule(torch.zeros(200), torch.zeros(200))


def test_another_dtype_or_shape_is_rejected() -> None:
    assert not close(1, 1)(RIGHT.double(), RIGHT)
    assert close(1, 1, same_dtype=False)(RIGHT.double(), RIGHT)


def test_rows_are_cut_and_columns_are_not() -> None:
    assert data.rows(100, 1 << 10) == 16
    assert data.rows(100, 1 << 20) == 1
    assert data.counts((1, 50, 100), 1 << 10) == [1, 16]
