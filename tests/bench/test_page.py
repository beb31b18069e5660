"""The command line, and what the page says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from normcheck.bench.document import Direction, read
from normcheck.cli.bench import command
from normcheck.errors import TargetError, UsageError
from normcheck.record import Verdict

from .conftest import Taken

SAMPLES = Path(__file__).with_name("samples.py")
TARGET = "torch.nn.functional:rms_norm"
BAD = "norms.py:rms_norm_in_half"


def masked(text: str) -> list[str]:
    """Leave out what differs from machine to machine: numbers and their units."""
    found = re.sub(r"\d[\d.,]*( (ns|us|ms|s|%|MB|GB/s)\b)?", "#", text)
    return [" ".join(line.split()) for line in found.splitlines()]


def test_the_command_prints_what_the_page_says(taken: Taken) -> None:
    assert masked(taken.printed) == masked(taken.said)


def test_what_fails_is_timed_and_not_ranked(taken: Taken) -> None:
    verdicts = {each.implementation: each for each in taken.document.judgements}
    assert verdicts[BAD].verdict is Verdict.FAIL
    assert "forward_accuracy" in verdicts[BAD].failing
    assert verdicts["norms.py:rms_norm"].verdict is verdicts["torch"].verdict is Verdict.PASS
    for row in taken.document.rows:
        assert row.median_s is not None
        assert row.is_ranked is (row.implementation != BAD)
        assert (row.reason != "") is (row.implementation == BAD)


def test_every_implementation_gets_the_same_inputs_in_every_size_and_direction(
    taken: Taken,
) -> None:
    found = [(r.implementation, r.direction, r.size, r.case) for r in taken.document.rows]
    assert sorted(found) == sorted(
        (name, direction, size, f"nc1:rms_norm/bf16/128x{size}/plain")
        for name in ("norms.py:rms_norm", BAD, "torch")
        for direction in Direction
        for size in (256, 1024)
    )


def test_bytes_are_those_of_a_calculation_by_hand(taken: Taken) -> None:
    tensor, weight = 128 * 1024 * 2, 1024 * 2
    wide = {row.direction: row.bytes for row in taken.document.rows if row.size == 1024}
    # x, weight and y; x, weight, dy, dx and dweight.
    assert wide == {
        Direction.FORWARD: 2 * tensor + weight,
        Direction.BACKWARD: 3 * tensor + 2 * weight,
    }
    assert {copy.bytes for copy in taken.document.copies} == {
        row.bytes for row in taken.document.rows
    }


def test_numbers_of_a_row_belong_together(taken: Taken) -> None:
    for row in taken.document.rows:
        assert row.median_s is not None
        assert row.gb_per_s == pytest.approx(row.bytes / row.median_s / 1e9)
        copy = taken.document.copy_of(row.bytes)
        assert row.share_of_copy == pytest.approx(copy.median_s / row.median_s)
        assert row.min_s is not None
        assert row.min_s <= row.median_s
        # y and dx at least are there at the end.
        assert row.memory_bytes is not None
        assert row.memory_bytes >= 2 * 128 * row.size * 2


def test_the_document_says_how_to_repeat_it_and_comes_back_from_json(taken: Taken) -> None:
    assert taken.document.command.startswith("normcheck bench norms.py:rms_norm --op rms_norm ")
    assert json.loads(taken.path.read_text())["schema"] == "normcheck/bench/1"
    taken.path.write_text(taken.document.to_json())
    assert read(taken.path) == taken.document


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--op", "rms_nrm"], "op is 'rms_nrm', but must be an op of the catalogue; did you mean"),
        (["--sizes", "256,0"], "size is 0, but must be at least 1"),
        (["--sizes", "wide"], "size is 'wide', but must be a whole number of at least 1"),
        (["--rows", "0"], "rows is 0, but must be at least 1"),
        (["--dtype", "int8"], "dtype is 'int8', but must be known"),
        (["--policy", "eps=outsid"], "did you mean outside?"),
        (["--against", "torhc"], "implementation is 'torhc', but must be MODULE:NAME or FILE.py"),
        (["--sizes", "100000"], "size is 100000, which makes 102400000 elements of 1024x100000"),
        (["--json", "no/such/folder.json"], "no/such is not a folder"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_with_the_value_and_the_rule(words: list[str], said: str) -> None:
    done = CliRunner().invoke(command, [TARGET, *words])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_an_unknown_implementation_is_refused_with_the_nearest() -> None:
    done = CliRunner().invoke(command, [TARGET, "--against", "torch.nn.functional:rms_nrm"])
    assert isinstance(done.exception, TargetError)
    assert "did you mean rms_norm?" in str(done.exception)


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        (f"{SAMPLES}:weight_norm", ["--against", "torch"],
         "against is 'torch', but for weight_norm torch offers nothing"),
        ("torch.nn:SyncBatchNorm", ["--op", "sync_batch_norm"],
         "op is 'sync_batch_norm', but must be one that a single process computes"),
    ],
)  # fmt: skip
def test_what_has_no_rival_or_runs_on_ranks_is_told(
    target: str, words: list[str], said: str
) -> None:
    done = CliRunner().invoke(command, [target, *words])
    assert said in str(done.exception)
