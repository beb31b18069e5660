"""`normcheck history` and reports/history.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from normcheck.record import Record, Verdict
from normcheck.reports.history import histories, run_of
from tests.fresh_process import Done

from .test_compare_records import BASE, RECORDS, TIMES, checked, no, recorded


def run(day: int, ratio: float = 0.1, **fields: object) -> Record:
    """A run of the first days of November, with a ratio of float32."""
    given = {"started_at": f"2026-11-{day:02}T00:00:00+00:00", "source": "", "target": "m:f"}
    return recorded("", checked("a", {"p": ratio})).model_copy(update=given | fields)


def changed(*records: Record) -> list[tuple[str, ...]]:
    (found,) = histories(run_of(f"{i}.json", record) for i, record in enumerate(records))
    return [each.changed for each in found.runs]


def test_runs_are_grouped_by_target_and_op_and_ordered_by_time() -> None:
    records = {
        "b.json": run(3),
        "a.json": run(1),
        "c.json": run(2, target="m:g"),
        "d.json": run(2, op="rms_norm"),
    }
    found = histories(run_of(name, record) for name, record in records.items())
    told = [(h.target, h.op, [r.file for r in h.runs]) for h in found]
    assert told == [
        ("m:f", "layer_norm", ["a.json", "b.json"]),
        ("m:f", "rms_norm", ["d.json"]),
        ("m:g", "layer_norm", ["c.json"]),
    ]


def test_times_are_ordered_across_zones_and_what_is_none_goes_first() -> None:
    texts = ["2026-11-21T01:00:00Z", "2026-11-21T01:30:00+01:00", "2026-11-21T00:45:00", "soon"]
    records = [run(1, started_at=text) for text in texts]
    (found,) = histories(run_of(text, record) for text, record in zip(texts, records, strict=True))
    assert [each.file for each in found.runs] == [texts[3], texts[1], texts[2], texts[0]]


def test_a_changed_verdict_source_and_profile_are_marked() -> None:
    first = run(1, source="f.py sha256:aaaa")
    second = run(2, ratio=0.1, source="f.py sha256:bbbb", verdict=Verdict.NOT_JUDGED)
    third = run(3, source="f.py sha256:bbbb", profile="standard", verdict=Verdict.NOT_JUDGED)
    assert changed(first, second, third) == [
        (),
        ("verdict PASS to NOT JUDGED", "source"),
        ("profile",),
    ]


def test_a_run_without_a_source_hides_no_change() -> None:
    sources = ("f.py sha256:aaaa", "", "f.py sha256:bbbb")
    assert changed(*(run(day, source=s) for day, s in enumerate(sources, 1))) == [
        (), (), ("source",),
    ]  # fmt: skip


def test_a_doubled_ratio_is_marked_for_its_dtype() -> None:
    marks = changed(run(1, 0.2), run(2, 0.39), run(3, 0.78), run(4, 0.1), run(5, 0.2))
    told = (f"worst float32 0.39{TIMES} to 0.78{TIMES}",)
    assert marks == [(), (), told, (), (f"worst float32 0.10{TIMES} to 0.20{TIMES}",)]


def test_a_ratio_is_compared_with_the_last_run_that_has_one() -> None:
    silent = recorded("m:f", no("a"), started_at="2026-11-02T00:00:00+00:00", source="")
    marks = changed(run(1, 0.2), silent, run(3, 0.5))
    assert marks[2] == (f"worst float32 0.20{TIMES} to 0.50{TIMES}",)


def test_the_worst_ratio_is_that_of_judged_checks_per_dtype_and_device() -> None:
    checks = [
        checked("a", {"p": 0.3}),
        checked("b", {"p": 0.2}),
        checked("c", {"p": 0.9}, Verdict.NOT_JUDGED),
        checked("d", {"p": 0.4}, device="cuda:0"),
        checked("e", {}, Verdict.NOT_JUDGED, dtype="float16"),
    ]
    worst = run_of("x", recorded("m:f", *checks)).worst
    assert worst == {"float32": 0.3, "float32 cuda:0": 0.4, "float16": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "deep").mkdir(parents=True)
    for place in ("runs/run-1.json", "runs/deep/run-2.json"):
        (tmp_path / place).write_text((RECORDS / Path(place).name).read_text())
    (tmp_path / "runs" / "package.json").write_text('{"name": "x"}')
    (tmp_path / "runs" / "latin.json").write_bytes(b"\xe9")
    (tmp_path / "runs" / "notes.txt").write_text("no JSON")
    return tmp_path


def test_history_prints_a_table_and_tells_what_it_left_out(
    normcheck: Callable[..., Done], folder: Path
) -> None:
    done = normcheck("history", "runs")
    assert done.returncode == 0
    title, columns, *rows = done.stdout.splitlines()
    assert title == "my_norm.py:layer_norm as layer_norm: 2 runs"
    assert columns.split() == [
        "started", "file", "verdict", "float32", "bfloat16", "cases", "elapsed", "profile",
        "normcheck", "source", "changed",
    ]  # fmt: skip
    assert [row.split()[:2] for row in rows] == [
        ["2026-11-21T21:09:16+00:00", "run-1.json"],
        ["2026-11-21T21:12:26+00:00", "deep/run-2.json"],
    ]
    assert rows[1].split()[2:8] == ["✗", "FAIL", f">1000{TIMES}", f"24{TIMES}", "88", "19.8"]
    assert rows[1].endswith("my_norm.py sha256:a10d0a415e2dc02f")
    assert done.stderr.splitlines() == [
        "normcheck: left out: runs/latin.json cannot be read: "
        "it is neither UTF-8 nor compressed text",
        "normcheck: left out: runs/package.json is not a run record of schema normcheck/run/2: "
        "verdict: Field required",
    ]


def test_history_writes_json_that_holds_every_run(
    normcheck: Callable[..., Done], folder: Path
) -> None:
    done = normcheck("history", "runs", "-o", "history.json")
    assert done.stdout == "history: history.json (2 runs of 1 target)\n"
    document = json.loads((folder / "history.json").read_text())
    assert document["schema"] == "normcheck/history/1"
    (history,) = document["histories"]
    assert (history["target"], history["op"]) == (BASE.target, "layer_norm")
    last = history["runs"][1]
    assert last["worst"]["bfloat16"] == 24.13952875170014
    assert (last["verdict"], last["cases"], last["seed"]) == ("fail", 88, 20261121)
    assert last["source"] == "my_norm.py sha256:a10d0a415e2dc02f"


def test_history_writes_markdown_whose_rows_have_equal_cells(
    normcheck: Callable[..., Done], folder: Path
) -> None:
    hostile = run(1, source="a|b.py <b>", incomplete="interrupted")
    (folder / "runs" / "hostile.json").write_text(hostile.to_json())
    normcheck("history", "runs", "-o", "history.md")
    lines = (folder / "history.md").read_text().splitlines()
    assert "### `my_norm.py:layer_norm` as `layer_norm`" in lines
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {11, 12}
    assert any("a\\|b.py &lt;b>" in line and "incomplete |" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("nowhere",), 2, "DIR is nowhere, but must be a folder of run records"),
        (("empty",), 5, "empty holds no run record: none of its *.json files is one"),
        (("runs", "-o", "h.html"), 2, "output is h.html, but must end in .md or .json"),
    ],
)
def test_history_tells_what_it_cannot_do(
    normcheck: Callable[..., Done], folder: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    (folder / "empty").mkdir()
    done = normcheck("history", *words)
    assert done.returncode == status
    assert message in done.stderr


def test_a_dtype_that_was_not_tried_is_empty_and_one_that_was_not_judged_is_not(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "1.json").write_text(run(1).to_json())
    half = recorded("m:f", checked("a", {}, Verdict.NOT_JUDGED, dtype="float16"))
    (tmp_path / "2.json").write_text(half.to_json())
    told = normcheck("history", ".", "-o", "h.md")
    assert told.returncode == 0
    rows = (tmp_path / "h.md").read_text().splitlines()[4:6]
    assert [row.split(" | ")[3:5] for row in rows] == [[f"0.10{TIMES}", ""], ["", "?"]]


def test_history_imports_no_torch(normcheck: Callable[..., Done], folder: Path) -> None:
    (folder / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    assert normcheck("history", "runs").returncode == 0


def test_benches_stand_beside_the_runs_and_what_became_slower_is_marked(
    normcheck: Callable[..., Done], tmp_path: Path
) -> None:
    bench = json.loads((RECORDS / "bench-1.json").read_text())
    own = [row for row in bench["rows"] if row["implementation"] == bench["target"]]
    folder = tmp_path / "runs"
    folder.mkdir()
    for day, factor in ((1, 1.0), (2, 0.9), (3, 0.5)):
        for row in own:
            row["share_of_copy"] *= factor
        bench["started_at"] = f"2026-11-0{day}T00:00:00+00:00"
        (folder / f"{day}.json").write_text(json.dumps(bench))
    done = normcheck("history", "runs")
    assert done.returncode == 0
    title, head, *rows = done.stdout.splitlines()
    assert title.startswith(f"{bench['target']} as rms_norm: speed")
    assert "bfloat16 forward" in head
    assert [" of a copy" in row for row in rows] == [False, False, True]
    document = (
        json.loads((tmp_path / "h.json").read_text())
        if (normcheck("history", "runs", "-o", "h.json").returncode == 0)
        else {}
    )
    (speeds,) = document["speeds"]
    largest = {f"{r['dtype']} {r['direction']}": r["gb_per_s"] for r in own if r["size"] == 4096}
    assert speeds["runs"][0]["gb_per_s"] == largest
