"""The table of peers counts what it says that it counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.peers.catalogue import HONEST, PROTOCOLS, broken, is_backward
from tests.benchmarks.peers.measure import Score, alone, judged_by_normcheck
from tests.benchmarks.peers.page import page
from tests.benchmarks.peers.subject import Subject

SUBJECT = HONEST[0]
SAMPLES = Path(__file__).parent / "peers" / "samples.py"
# Python warns of forks where other threads run; the child here runs nothing of theirs.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def _scored(*, sees_gradients: bool) -> Score:
    protocol = next(
        p for p in PROTOCOLS if p.op == "rms_norm" and p.sees_gradients is sees_gradients
    )
    modes = [mode for mode in broken() if mode.op == "rms_norm"]
    forward = next(mode.name for mode in modes if not is_backward(mode))
    backward = next(mode.name for mode in modes if is_backward(mode))
    return Score("some", "rms_norm", {forward, backward}, ["rms_norm_llama"], 0.25, protocol)


def _row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_faults_of_forward_and_backward_are_counted_apart() -> None:
    modes = [mode for mode in broken() if mode.op == "rms_norm"]
    behind = sum(map(is_backward, modes))
    ahead = len(modes) - behind
    cells = _row(page([_scored(sees_gradients=True)], broken()), "some")
    assert cells[4:] == [
        f"{ahead - 1} / {ahead}", f"{behind - 1} / {behind}", "2", "`llama`", "0.25"
    ]  # fmt: skip


def test_a_protocol_without_gradients_is_not_asked_about_the_backward() -> None:
    score = _scored(sees_gradients=False)
    text = page([score], broken())
    assert _row(text, "some")[5] == "\u2014"
    backward = next(mode for mode in broken() if mode.name in score.missed and is_backward(mode))
    forward = next(mode for mode in broken() if mode.name in score.missed and not is_backward(mode))
    lines = text.splitlines()

    def told(name: str) -> str:
        return next(line for line in lines if f"`{name.removeprefix('rms_norm_')}`" in line)

    assert "| 0 of 0 |" in told(backward.name)
    assert "| 1 of 1 |" in told(forward.name)


def test_every_protocol_has_its_data_and_cut_in_the_page() -> None:
    scores = [Score(p.name, p.op, protocol=p) for p in PROTOCOLS]
    text = page(scores, broken())
    for protocol in PROTOCOLS:
        assert f"| {protocol.name} | {protocol.op} | {protocol.rule} |" in text
        assert protocol.source in text


@forks
@pytest.mark.parametrize("verdict", [True, False])
def test_a_judgement_in_a_child_says_what_it_found(verdict: bool) -> None:
    accepted, seconds = alone(lambda subject: verdict, SUBJECT)
    assert accepted is verdict
    assert seconds >= 0


@forks
def test_who_ends_the_process_is_not_accepted() -> None:
    def ends(subject: Subject) -> bool:
        os._exit(0)

    assert alone(ends, SUBJECT) == (False, 0.0)


def test_a_run_that_judges_nothing_is_no_verdict() -> None:
    subject = Subject("refuses", f"{SAMPLES}:layer_norm_raises", "layer_norm")
    with pytest.raises(RuntimeError, match="refuses is not_judged, but must be judged"):
        judged_by_normcheck("quick")(subject)


@forks
def test_a_protocol_that_fails_is_no_verdict() -> None:
    def fails(subject: Subject) -> bool:
        raise ValueError("no such column")

    with pytest.raises(RuntimeError, match=r"(?s)layer_norm_two_pass: failed: .*no such column"):
        alone(fails, SUBJECT)
