"""`normcheck compare`: what is printed and written, and the exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from normcheck.record import Verdict
from tests.fresh_process import Done

from .test_compare_records import TIMES, checked, no, recorded


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with a record, and one in which a ratio is six times as bad."""
    before = recorded("m:f", checked("a", {"p": 0.1, "q": 0.1}), checked("b", {"p": 0.8}))
    after = recorded("m:g", checked("a", {"p": 0.6, "r": 0.1}), checked("b", {"p": 0.2}))
    for name, record in (("before.json", before), ("after.json", after)):
        (tmp_path / name).write_text(record.to_json())
    return tmp_path


def test_compare_prints_differences_then_counts_then_sides(
    normcheck: Callable[..., Done], two: Path
) -> None:
    done = normcheck("compare", "before.json", "after.json")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("before.json  m:f  quick, seed 20261121")
    start = lines.index("from before.json to after.json: 1 of 2 and 2 cases shared")
    assert lines[start + 1 : start + 4] == [
        f"  worse          a: pass 0.10{TIMES} -> pass 0.60{TIMES}",
        f"  better         b: pass 0.80{TIMES} -> pass 0.20{TIMES}",
        "  1 worse, 1 better, 0 same",
    ]
    assert lines[-1].split()[0] == "after.json"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), 1),
        (("--fail-on", "new-failure"), 0),
        (("--fail-on", "never"), 0),
        (("--fail-on", "any-failure"), 0),
        (("--fail-on", "any-failure, worse"), 1),
        (("--fail-on", "any-failure", "--fail-on", "worse"), 1),
    ],
)
def test_compare_fails_on_what_was_asked(
    normcheck: Callable[..., Done], two: Path, words: tuple[str, ...], status: int
) -> None:
    assert normcheck("compare", "before.json", "after.json", *words).returncode == status


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "wurse",
            "--fail-on is 'wurse', but must be new-failure, worse, any-failure or never; "
            "did you mean worse?",
        ),
        ("x", "--fail-on is 'x', but must be new-failure, worse, any-failure or never\n"),
        ("never,worse", "--fail-on is never,worse, but never stands alone"),
    ],
)
def test_a_wrong_fail_on_lists_the_choices(
    normcheck: Callable[..., Done], two: Path, word: str, message: str
) -> None:
    done = normcheck("compare", "before.json", "after.json", "--fail-on", word)
    assert done.returncode == 2
    assert message in done.stderr


def test_records_of_different_ops_are_not_compared(
    normcheck: Callable[..., Done], two: Path
) -> None:
    other = recorded("m:h", checked("a", {"p": 0.1}), op="rms_norm")
    (two / "other.json").write_text(other.to_json())
    done = normcheck("compare", "before.json", "after.json", "other.json")
    assert done.returncode == 2
    assert (
        "before.json is of layer_norm, but other.json of rms_norm: nothing to compare"
        in done.stderr
    )


def test_compare_writes_markdown_whose_rows_have_equal_cells(
    normcheck: Callable[..., Done], two: Path
) -> None:
    done = normcheck("compare", "before.json", "after.json", "-o", "out.md")
    assert done.stdout.splitlines()[-1] == "comparison: out.md"
    lines = (two / "out.md").read_text().splitlines()
    assert f"| worse | `a` | pass 0.10{TIMES} | pass 0.60{TIMES} |" in lines
    sides = [line.replace("\\|", "") for line in lines if line.startswith(("| impl", "| `bef"))]
    assert [side.count("|") for side in sides] == [10, 10]
    assert normcheck("compare", "before.json", "before.json", "-o", "same.md").returncode == 0
    assert "0 worse, 0 better, 2 same" in (two / "same.md").read_text()


def test_compare_names_three_records_by_their_files(
    normcheck: Callable[..., Done], two: Path
) -> None:
    silent = recorded("m:h", no("a"), verdict=Verdict.NOT_JUDGED)
    (two / "silent.json").write_text(silent.to_json())
    done = normcheck("compare", "before.json", "before.json", "silent.json", "-o", "out.md")
    assert done.returncode == 1
    assert "from before.json to silent.json: 0 of 2 and 0 cases shared" in done.stdout
    assert "gone           b: pass 0.80" in done.stdout
    assert "2 no longer judged, 0 worse, 0 better, 0 same" in done.stdout
    assert "not judged: silent.json: no such kernel" in done.stdout
    assert "- not judged: `silent.json`: `no such kernel`" in (two / "out.md").read_text()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.pdf", "output is out.pdf, but must end in .md, .html or .htm"),
        ("no/out.md", "no is not a folder, asked for by no/out.md"),
        ("folder.md", "folder.md is a folder, but must be a file to write"),
    ],
)
def test_compare_tells_where_it_cannot_write(
    normcheck: Callable[..., Done], two: Path, output: str, message: str
) -> None:
    (two / "folder.md").mkdir()
    done = normcheck("compare", "before.json", "after.json", "-o", output)
    assert done.returncode == 2
    assert message in done.stderr


def test_two_failures_and_two_without_a_shared_case_are_counted(
    normcheck: Callable[..., Done], two: Path
) -> None:
    names = ("a", "b", "c", "d")
    for file, cases in (("x.json", ("p", "p", "p", "p")), ("y.json", ("p", "p", "q", "q"))):
        ratios = (0.1, 0.1, 0.1, 0.1) if file == "x.json" else (5.0, 5.0, 0.1, 0.1)
        checks = [checked(n, {c: r}) for n, c, r in zip(names, cases, ratios, strict=True)]
        (two / file).write_text(recorded("m:f", *checks).to_json())
    told = normcheck("compare", "x.json", "y.json").stdout
    assert "  2 new failures, 0 worse, 2 without a shared case, 0 better, 0 same" in told


def test_a_target_does_not_steer_the_terminal(normcheck: Callable[..., Done], two: Path) -> None:
    record = recorded("m:\x1b[31mf", checked("a", {"p": 0.1}), policies={"eps": "outside"})
    (two / "red.json").write_text(record.to_json())
    told = normcheck("compare", "red.json", "red.json").stdout
    assert "\x1b" not in told
    assert "m:\\u001b[31mf  quick, seed 20261121  --policy eps=outside" in told


def test_compare_imports_no_torch(normcheck: Callable[..., Done], two: Path) -> None:
    blocked = two / "torch.py"
    blocked.write_text("raise RuntimeError('torch was imported')\n")
    done = normcheck("compare", "before.json", "before.json", PYTHONPATH=str(two))
    assert (done.returncode, done.stderr) == (0, "")


def test_compare_writes_a_report_of_the_first_record(
    normcheck: Callable[..., Done], two: Path
) -> None:
    done = normcheck("compare", "before.json", "after.json", "-o", "out.html")
    assert done.stdout.splitlines()[-1] == "comparison: out.html"
    page = (two / "out.html").read_text()
    assert "m:f" in page
    assert "m:g" in page


def test_a_bench_must_be_of_the_op_of_the_record(normcheck: Callable[..., Done]) -> None:
    records = Path(__file__).parents[1] / "reports" / "records"
    run, bench = str(records / "run-2.json"), str(records / "bench-1.json")
    done = normcheck("report", run, "--bench", bench, "-o", "out.html")
    assert done.returncode == 2
    assert "bench-1.json is of rms_norm, but the record of layer_norm" in done.stderr
    done = normcheck("report", run, "--bench", bench)
    assert done.returncode == 2
    assert "only a page shows it: add -o report.html" in done.stderr
