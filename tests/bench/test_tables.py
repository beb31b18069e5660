"""Tables, ranks and fronts of documents with known numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from normcheck.bench.document import SCHEMA, Bench, Copy, Direction, Judgement, Row, read
from normcheck.errors import UsageError
from normcheck.record import Environment, Verdict
from normcheck.reports.bench import lines, pareto, table

ENVIRONMENT = Environment(
    normcheck="0.1.0", python="3.11.9", torch="2.13.0", platform="Linux x86_64", threads=8,
    cpu_capability="AVX512", devices={"cpu": "x86_64"},
)  # fmt: skip
PASS, FAIL = Verdict.PASS, Verdict.FAIL


def row(
    name: str, seconds: float | None, ratio: float = 0.5, verdict: Verdict = PASS, size: int = 8,
    suspect: bool = False, reason: str = "",
) -> Row:  # fmt: skip
    speed = None if seconds is None else 1000 / seconds / 1e9
    return Row(
        implementation=name, dtype="float32", direction=Direction.FORWARD, shape=[4, size],
        size=size, case=f"nc1:rms_norm/f32/4x{size}/plain", verdict=verdict, worst_ratio=ratio,
        bytes=1000, runs=5, median_s=seconds, min_s=seconds, iqr_s=0.0, gb_per_s=speed,
        share_of_copy=None if speed is None else speed / 10.0, suspect=suspect, reason=reason,
        memory_bytes=2_000_000,
    )  # fmt: skip


def document(*rows: Row) -> Bench:
    return Bench(
        schema=SCHEMA, command="normcheck bench a:b", target="a", op="rms_norm", device="cpu",
        clock="a clock", environment=ENVIRONMENT, started_at="2026-01-01T00:00:00+00:00",
        elapsed_s=1.0, rows=list(rows), notes=["compiled was left out: no compiler"],
        copies=[Copy(bytes=1000, median_s=1e-7, min_s=1e-7, iqr_s=0.0, gb_per_s=10.0)],
        judgements=[
            Judgement(
                implementation=each.implementation, target=each.implementation, dtype="float32",
                verdict=each.verdict, worst_ratio=each.worst_ratio, checks=3,
                failing=["gradients"] if each.verdict is FAIL else [],
            )
            for each in rows
        ],
    )  # fmt: skip


def test_the_best_is_the_fastest_that_passes() -> None:
    found = table(document(row("a", 3e-6), row("b", 2e-6), row("bad", 1e-6, 40.0, FAIL)))
    assert [each.times_best for each in found] == [1.5, 1.0, None]
    assert [each.best for each in found] == ["1.50", "1.00", "-"]
    assert found[2].ratio == "40×"


def test_what_is_not_judged_or_not_timed_has_no_rank() -> None:
    found = table(document(row("a", 3e-6, verdict=Verdict.NOT_JUDGED), row("b", None)))
    assert [each.times_best for each in found] == [None, None]
    assert (found[0].ratio, found[1].time, found[1].speed) == ("?", "-", "-")


def test_the_front_is_what_nothing_that_passes_beats() -> None:
    points = pareto(
        document(
            row("small", 1e-9, size=4), row("fast", 1e-6, 0.9), row("both", 2e-6, 0.5),
            row("slow", 3e-6, 0.5), row("exact", 4e-6, 0.1), row("bad", 1e-7, 40.0, FAIL),
            row("none", None, 0.0),
        )
    )  # fmt: skip
    assert [(each.implementation, each.on_front) for each in points] == [
        ("fast", True), ("both", True), ("slow", False), ("exact", True), ("bad", False),
    ]  # fmt: skip
    assert {each.shape for each in points} == {(4, 8)}


def test_equals_are_both_on_the_front() -> None:
    points = pareto(document(row("a", 1e-6), row("b", 1e-6)))
    assert [each.on_front for each in points] == [True, True]


def test_the_text_says_all_of_it() -> None:
    told = "\n".join(
        lines(
            document(
                row("a", 2e-6), row("a", 1.5e-5, size=16), row("bad", 1e-6, 40.0, FAIL),
                row("bad", 1e-5, 40.0, FAIL, 16), row("odd", 4e-8, suspect=True),
                row("odd", None, size=16, reason="raised ValueError: \x1b[2J"),
            )
        )
    )  # fmt: skip
    assert [" ".join(line.split()) for line in told.splitlines() if line.startswith("  ")] == [
        "copy 100 ns 10.0 GB/s 100 ns 10.0 GB/s",
        "a 2.00 us (50.00) 5.0 % 15.0 us (1.00) 0.67 %",
        "bad 1.00 us not comparable 10.0 us not comparable",
        "odd 40.0 ns (1.00) 250 % suspect -",
        "a 2.00 MB 2.00 MB",
        "bad 2.00 MB 2.00 MB",
        "odd 2.00 MB 2.00 MB",
    ]
    for line in (
        "rms_norm on cpu, threads: 8, torch 2.13.0",
        "odd in float32: suspect: faster than a copy of as many bytes",
        "odd in float32: raised ValueError: \\u001b[2J",
        "compiled was left out: no compiler",
        "repeat  normcheck bench a:b",
    ):
        assert line in told.splitlines()
    assert "✗ FAIL   40×     float32   bad   fails gradients" in told


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read(path)
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"is not a bench of schema normcheck/bench/1: command"):
        read(path)
    path.write_text(document().to_json().replace("bench/1", "bench/2"))
    with pytest.raises(UsageError, match=r"'normcheck/bench/2', but must be normcheck/bench/1"):
        read(path)
