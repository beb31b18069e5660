"""Measure every protocol and normcheck beside them, and write docs/peers.md.

python tests/benchmarks/peers/write_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Run as a script, Python puts this folder on the path, not the repository.
sys.path[0] = str(ROOT)

import torch  # noqa: E402

from tests.benchmarks.peers.catalogue import OPS, PROTOCOLS, broken  # noqa: E402
from tests.benchmarks.peers.measure import (  # noqa: E402
    Score,
    score_normcheck,
    score_protocol,
)
from tests.benchmarks.peers.page import page  # noqa: E402

PROFILES = ("quick", "standard")


def _told(score: Score) -> Score:
    sys.stderr.write(
        f"{score.name}, {score.op}: {len(score.missed)} missed, blamed {score.blamed}, "
        f"{score.seconds:.2g} s\n"
    )
    return score


def main() -> None:
    torch.set_num_threads(1)
    scores = [_told(score_protocol(protocol)) for protocol in PROTOCOLS]
    scores += [_told(score_normcheck(profile, op)) for op in OPS for profile in PROFILES]
    scores.sort(key=lambda score: OPS.index(score.op))
    (ROOT / "docs" / "peers.md").write_text(page(scores, broken()))


if __name__ == "__main__":
    main()
