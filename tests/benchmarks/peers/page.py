"""docs/peers.md from the scores."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from normcheck.properties.failure_modes.catalogue import FailureMode
from tests.benchmarks.peers.catalogue import HONEST, OPS, is_backward
from tests.benchmarks.peers.measure import Score

HEAD = Path(__file__).with_name("head.md")


def _share(score: Score, modes: Sequence[FailureMode]) -> str:
    caught = sum(mode.name not in score.missed for mode in modes)
    return f"{caught} / {len(modes)}"


def _blamed(score: Score) -> str:
    names = [name.removeprefix(f"{score.op}_") for name in score.blamed]
    return ", ".join(f"`{name}`" for name in names) or "none"


def _seconds(score: Score) -> str:
    if math.isnan(score.seconds):
        return "—"
    return f"{score.seconds:.2g}" if score.seconds < 10 else f"{score.seconds:.0f}"


def _row(score: Score, modes: Sequence[FailureMode]) -> str:
    mine = [mode for mode in modes if mode.op == score.op]
    forward = [mode for mode in mine if not is_backward(mode)]
    backward = [mode for mode in mine if is_backward(mode)]
    judged = score.protocol
    cells = (
        score.name if judged else f"**{score.name}**",
        judged.source if judged else "this version",
        score.op,
        judged.judges if judged else "all properties",
        _share(score, forward),
        _share(score, backward) if score.sees_gradients else "—",
        str(len(score.missed)),
        _blamed(score),
        _seconds(score),
    )
    return f"| {' | '.join(cells)} |"


def _faults(scores: Sequence[Score], modes: Sequence[FailureMode], op: str) -> list[str]:
    """One row per mutant: how many protocols accept it, of those that look at what is wrong."""
    peers = [score for score in scores if score.op == op and score.protocol]
    own = [score for score in scores if score.op == op and not score.protocol]
    titles = ["class", "mutant", "what is wrong", "accepted by", "rejected by"]
    titles += [score.name for score in own]
    lines = ["", f"### {op}", ""]
    lines += [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * len(titles))} |"]
    mine = sorted((mode for mode in modes if mode.op == op), key=lambda mode: mode.kind)
    for mode in mine:
        able = [peer for peer in peers if peer.sees_gradients or not is_backward(mode)]
        wise = [peer.name for peer in able if mode.name not in peer.missed]
        shown = ", ".join(wise) if len(wise) <= 3 else f"{len(wise)} protocols"
        verdicts = ["missed" if mode.name in score.missed else "caught" for score in own]
        cells = (
            mode.kind,
            f"`{mode.name.removeprefix(f'{op}_')}`",
            mode.summary.replace("|", r"\|"),
            f"{len(able) - len(wise)} of {len(able)}",
            shown or "none",
            *verdicts,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rules(scores: Sequence[Score]) -> list[str]:
    lines = [
        "",
        "## Data, tolerances and cuts",
        "",
        "| protocol | op | data and rule | cut or left out |",
        "| --- | --- | --- | --- |",
    ]
    for protocol in filter(None, (score.protocol for score in scores)):
        cut = protocol.reduced or "nothing"
        lines.append(f"| {protocol.name} | {protocol.op} | {protocol.rule} | {cut} |")
    return lines


def page(scores: Sequence[Score], modes: Sequence[FailureMode]) -> str:
    """Return the whole document; peers by op, normcheck last."""
    head = HEAD.read_text().format(
        mutants=len(modes),
        honest=len(HONEST),
        date=datetime.now(UTC).date().isoformat(),
        torch=torch.__version__,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
    )
    lines = [_row(score, modes) for score in scores]
    lines += [
        "",
        "## Faults",
        "",
        "Of the protocols that look at the part that is wrong, how many accept each mutant, and",
        "what normcheck makes of it. `normcheck explain` tells what a class has done.",
    ]
    for op in OPS:
        lines += _faults(scores, modes, op)
    return head + "\n".join([*lines, *_rules(scores)]) + "\n"
