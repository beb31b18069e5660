"""Targets that misbehave: each ends in one clear message, a document, and a status that is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fresh_process import Done

from .conftest import SAMPLES

Judge = Callable[..., tuple[Done, dict[str, Any]]]


@pytest.mark.parametrize(
    ("name", "how"), [("layer_norm_dies", "exit status 0"), ("layer_norm_crashes", "SIGSEGV")]
)
def test_a_dead_process_is_a_failure_that_names_its_case(judge: Judge, name: str, how: str) -> None:
    done, record = judge(name)
    assert (done.returncode, record["verdict"]) == (1, "fail")
    assert f"{name} ended the process ({how}) on nc1:layer_norm/" in done.stderr
    assert record["incomplete"] in done.stderr


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("layer_norm_returns_meta", 4, "y is a meta tensor, but must be dense"),
        ("layer_norm_resizes", 1, "x was overwritten"),
        ("layer_norm_speechless", 4, "_SpeechlessError"),
        ("layer_norm_surrogate", 4, "half a pair: ?"),
        ("layer_norm_detaches_wide_rows", 1, "no gradient reaches any input in nc1:layer_norm"),
    ],
)
def test_misbehaviour_is_told_as_the_targets_own(
    judge: Judge, name: str, status: int, message: str
) -> None:
    done, record = judge(name)
    assert done.returncode == status
    assert message in done.stdout + done.stderr
    assert "fault of normcheck" not in done.stderr
    assert record["verdict"] == {1: "fail", 4: "not_judged"}[status]


def test_a_closed_stdout_still_gets_the_document(judge: Judge) -> None:
    done, record = judge("layer_norm_closes_stdout")
    assert (done.returncode, record["verdict"]) == (0, "pass")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "inplace=y"], "inplace is 'y', but must be a tensor"),
        (["--set", "eps=abc"], "eps is 'abc', but must be a number"),
        (["--timeout", "0"], "is not in the range"),
        (["--json", "."], "is a folder"),
    ],
)
def test_declarations_that_mean_nothing_are_refused(
    normcheck: Callable[..., Done], options: list[str], message: str
) -> None:
    done = normcheck("run", f"{SAMPLES}:layer_norm", "--profile", "quick", *options)
    assert done.returncode == 2
    assert message in done.stderr
