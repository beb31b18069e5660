"""Write docs/diagnosis.md: how often a diagnosis names the right class, measured.

    python tests/engine/write_diagnosis_table.py

Every mutant of the catalogue, and every independent fault, is judged by the property that catches
it; what is diagnosed is its first failure.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from normcheck.diagnosis import Diagnosis  # noqa: E402
from normcheck.properties.failure_modes import catalogue  # noqa: E402
from tests.engine.diagnosing import cause_of  # noqa: E402
from tests.engine.independent_faults import FAULTS  # noqa: E402

PAGE = ROOT / "docs" / "diagnosis.md"
TEXT = """# Diagnosis: how often the cause that is named is the cause

A failure is explained by a hypothesis only if the observed tensor lies within budget of what the
hypothesis says: in the smallest case, in the case in which the failure was found, and in a few more
that are called for the purpose. Where hypotheses of two classes explain it equally well, both are
named; where none or more do, none is. `right`: the class of the fault is named first. `both`: it is
one of two, or only a convention to declare is named. `silent`: nothing is named. Faults that the
property does not show in its first profile, or not when the case is judged again, are not counted.

Written by `tests/engine/write_diagnosis_table.py`.

"""


def _answer(kind: str, found: Diagnosis | None) -> str:
    if found is None:
        return "not repeated"
    if not found.text:
        return "silent"
    if not found.kind:
        return "both"
    return "right" if found.kind == kind else "wrong"


def _row(name: str, answers: Counter[str]) -> str:
    counted = ("right", "wrong", "both", "silent")
    return f"| {name} | " + " | ".join(str(answers[c] or "") for c in counted) + " |\n"


def _table(rows: dict[str, Counter[str]]) -> str:
    lines = "| class | right | wrong | both | silent |\n| --- | ---: | ---: | ---: | ---: |\n"
    total = sum(rows.values(), Counter())
    lines += "".join(_row(kind, rows[kind]) for kind in sorted(rows)) + _row("**all**", total)
    judged = sum(n for answer, n in total.items() if answer != "not repeated")
    share = 100.0 * total["right"] / max(judged, 1)
    return lines + f"\n{total['right']} of {judged} right: {share:.0f} %.\n"


def main() -> None:
    """Measure, and write the page."""
    torch.set_num_threads(1)
    known: dict[str, Counter[str]] = {}
    missed = []
    for mode in catalogue.modes():
        if mode.deadly:
            continue
        found = cause_of(
            mode.target, mode.op, mode.caught_by, mode.dtype, mode.profile, mode.policies
        )
        answer = _answer(mode.kind, found)
        known.setdefault(mode.kind, Counter())[answer] += 1
        if answer == "wrong" and found is not None:
            missed.append(f"- `{mode.name}` ({mode.kind}): {found.kind}, {found.text}\n")
        sys.stderr.write(f"{answer:12} {mode.kind} {mode.name}: {found}\n")
    other: dict[str, Counter[str]] = {}
    for fault in FAULTS:
        found = cause_of(fault.target, fault.op, fault.prop, fault.dtype, policies=fault.policies)
        other.setdefault(fault.kind, Counter())[_answer(fault.kind, found)] += 1
        sys.stderr.write(f"{_answer(fault.kind, found):12} {fault.kind} {fault.name}: {found}\n")
    page = TEXT + "## Mutants of the catalogue\n\n" + _table(known)
    page += "\nNamed wrongly:\n\n" + "".join(missed) if missed else ""
    page += "\n## Independent faults\n\nOther numbers and other code than the catalogue's, in "
    page += "`tests/engine/independent_faults.py`.\n\n" + _table(other)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
