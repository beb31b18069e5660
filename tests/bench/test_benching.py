"""A bench under a clock that says what it is told, of implementations that are taken to pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from normcheck.bench.benching import bench
from normcheck.bench.contenders import Contender
from normcheck.bench.document import Bench, Direction, Judgement, Row
from normcheck.bench.settings import Implementation, Settings
from normcheck.record import Verdict

T = TypeVar("T")
SAMPLES = Path(__file__).with_name("samples.py")


class Scripted:
    """Returns given times, but makes each call once."""

    method = "scripted"

    def __init__(self, seconds: list[float]) -> None:
        self.left = iter(seconds)

    def seconds(self, before: Callable[[], T], step: Callable[[T], object]) -> list[float]:
        step(before())
        return [next(self.left, 1e-6)]


@pytest.fixture(autouse=True)
def no_judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def passes(contender: Contender, dtype: str, settings: Settings) -> Judgement:
        return Judgement(
            implementation=contender.name, target=contender.judged.target, dtype=dtype,
            verdict=Verdict.PASS, worst_ratio=0.5, checks=1,
        )  # fmt: skip

    monkeypatch.setattr("normcheck.bench.benching.judge", passes)
    return iter(())


def taken(
    *against: str, seconds: list[float] | None = None, target: str = "layer_norm", size: int = 8
) -> Bench:
    names = [f"{SAMPLES}:{name}" if ":" not in name else name for name in (target, *against)]
    first, *others = map(Implementation, names)
    settings = Settings(first, "layer_norm", tuple(others), sizes=(size,), rows=4)
    return bench(settings, clock=Scripted(seconds or []))


def by_name(document: Bench, direction: Direction) -> dict[str, Row]:
    return {
        row.implementation.rpartition(":")[2]: row
        for row in document.rows
        if row.direction is direction
    }


def test_faster_than_the_copy_by_more_than_five_percent_is_suspect() -> None:
    # Forward: the copy, then each; backward likewise.
    copy = 1e-6
    document = taken(
        "torch.nn.functional:layer_norm",
        seconds=[copy, copy / 1.06, copy / 1.04, copy, copy / 1.04, copy / 1.06],
    )
    assert [(row.direction, row.suspect) for row in document.rows] == [
        (Direction.FORWARD, True), (Direction.FORWARD, False),
        (Direction.BACKWARD, False), (Direction.BACKWARD, True),
    ]  # fmt: skip
    assert document.rows[0].share_of_copy == pytest.approx(1.06)


def test_bandwidth_is_bytes_over_seconds() -> None:
    document = taken("torch.nn.functional:layer_norm", seconds=[2e-6])
    # x, weight, bias and y in float32.
    moved = (4 * 8 + 8 + 8 + 4 * 8) * 4
    assert {row.bytes for row in by_name(document, Direction.FORWARD).values()} == {moved}
    assert document.copy_of(moved).gb_per_s == pytest.approx(moved / 2e-6 / 1e9)


def test_what_one_cannot_take_nobody_gets() -> None:
    document = taken("layer_norm_without_bias")
    assert {row.case for row in document.rows} == {"nc1:layer_norm/f32/4x8/plain/bias=none"}
    # x, weight and y.
    assert by_name(document, Direction.FORWARD)["layer_norm"].bytes == (32 + 8 + 32) * 4


def test_what_has_no_gradient_is_timed_forward_alone() -> None:
    document = taken("layer_norm_detached")
    row = by_name(document, Direction.FORWARD)["layer_norm_detached"]
    assert row.is_ranked
    assert row.memory_bytes is None
    row = by_name(document, Direction.BACKWARD)["layer_norm_detached"]
    assert not row.is_ranked
    assert row.reason == ("no backward: its outputs are not attached to the autograd graph")
    assert by_name(document, Direction.BACKWARD)["layer_norm"].is_ranked


def test_what_raises_leaves_its_first_line_and_the_others_are_timed() -> None:
    document = taken("layer_norm_of_few_columns", size=16)
    for direction in Direction:
        row = by_name(document, direction)["layer_norm_of_few_columns"]
        assert row.reason == "raised ValueError: at most 8 columns"
        assert by_name(document, direction)["layer_norm"].is_ranked


def test_torchs_own_function_is_no_rival_of_itself() -> None:
    settings = Settings(Implementation("torch.nn.functional:batch_norm"), sizes=(2,), rows=2)
    document = bench(settings, clock=Scripted([]))
    assert [each.implementation for each in document.judgements] == [
        "torch.nn.functional:batch_norm"
    ]


def test_torchs_own_function_is_the_default_rival() -> None:
    settings = Settings(Implementation("torch.nn:BatchNorm2d"), sizes=(2,), rows=2)
    document = bench(settings, clock=Scripted([]))
    assert [(each.implementation, each.target) for each in document.judgements] == [
        ("torch.nn:BatchNorm2d", "torch.nn:BatchNorm2d"),
        ("torch", "torch.nn.functional:batch_norm"),
    ]
    assert {tuple(row.shape) for row in document.rows} == {(2, 64, 2, 2)}
    assert all(row.is_ranked for row in document.rows)


def test_a_compiled_function_is_timed_with_fixed_shapes_and_judged_with_open_ones() -> None:
    settings = Settings(Implementation("torch.nn.functional:rms_norm"), sizes=(8,), rows=4)
    document = bench(settings, clock=Scripted([]))
    if document.notes:
        pytest.skip(document.notes[0])
    assert [(each.implementation, each.target) for each in document.judgements] == [
        ("torch.nn.functional:rms_norm", "torch.nn.functional:rms_norm"),
        ("compiled", "normcheck.survey.adaptors.torch_compiled:rms_norm"),
    ]
    assert all(row.is_ranked for row in document.rows)


def test_without_a_compiler_the_others_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr("torch.compile", fails)
    settings = Settings(Implementation("torch.nn.functional:rms_norm"), sizes=(8,), rows=4)
    document = bench(settings, clock=Scripted([]))
    assert document.notes == [
        "compiled was left out: torch.compile does not work here: RuntimeError: no compiler"
    ]
    assert {row.implementation for row in document.rows} == {"torch.nn.functional:rms_norm"}
