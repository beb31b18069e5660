"""Verdicts per target, counted from reports: they come from the workers of xdist too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from normcheck.plugin.known_entries import Failed, Subject

__all__ = ["Tally", "TargetTally"]


@dataclass(slots=True)
class TargetTally:
    """What has been said about one target, or by one contract.

    Attributes:
        target: What it is called.
        verdicts: How many checks passed, failed, are known or were not judged.
        failing: The failing checks, known or not, by id.
        unexcused: Ids of checks that fail the run.
        judged: Checks that say something.
        cases: How many cases the checks judged, together.
        seeds: That drew them.
    """

    target: str
    verdicts: Counter[str] = field(default_factory=Counter)
    failing: dict[str, Failed] = field(default_factory=dict)
    unexcused: list[str] = field(default_factory=list)
    judged: list[Subject] = field(default_factory=list)
    cases: int = 0
    seeds: set[str] = field(default_factory=set)

    @property
    def first(self) -> str:
        """The failing check to look at first: a wrong output explains wrong gradients."""
        plain = [name for name in self.unexcused if name.endswith("-forward_accuracy")]
        return min(plain or self.unexcused, default="")


@dataclass(slots=True)
class Tally:
    """What has been said about all, by the node id of the target or of the contract."""

    targets: dict[str, TargetTally] = field(default_factory=dict)

    def note(self, report: pytest.TestReport) -> None:
        """Count one report of a call of ours."""
        told = {k: str(v) for k, v in report.user_properties if k.startswith("normcheck.")}
        if report.when != "call" or "normcheck.id" not in told:
            return
        place = told["normcheck.place"]
        tally = self.targets.setdefault(place, TargetTally(told["normcheck.target"]))
        subject = Subject(told["normcheck.id"], tally.target, place)
        verdict = "known" if "normcheck.known" in told else told["normcheck.verdict"]
        # A mark of pytest's own excuses, too; a stale entry fails a check that passes.
        verdict = "known" if verdict == "fail" and not report.failed else verdict
        verdict = "fail" if report.failed else verdict
        tally.verdicts[verdict] += 1
        tally.unexcused += [told["normcheck.id"]] if verdict == "fail" else []
        if told["normcheck.verdict"] != "not_judged":
            tally.judged.append(subject)
        if told["normcheck.verdict"] == "fail" and told.get("normcheck.case"):
            ratio = float(told.get("normcheck.ratio", 0))
            tally.failing[subject.check] = Failed(subject, told["normcheck.case"], ratio)
        tally.cases += int(told.get("normcheck.cases", 0))
        tally.seeds.update(filter(None, [told.get("normcheck.seed")]))
