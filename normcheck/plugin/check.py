"""One check as a test: what it says, and in which words it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from normcheck.plugin.known_entries import Subject
from normcheck.record import Check, Record, Verdict
from normcheck.reports.text import cause_text, check_ratio_text, root_causes

if TYPE_CHECKING:
    from normcheck.cases.case import Case
    from normcheck.plugin.planning import Planned
    from normcheck.plugin.session import Session

__all__ = ["CheckTest", "check_of"]

ABSENT = "no case of this run applies"


@dataclass(slots=True)
class CheckTest:
    """What stands behind one test.

    Attributes:
        session: The run.
        planned: The target.
        dtype: Name of the format.
        prop: Name of the property.
        properties: What the reports of the test carry: texts, which JUnit writes as they are.
    """

    session: Session
    planned: Planned
    dtype: str
    prop: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Op, dtype, device and property."""
        return self.planned.plan.check_id(self.dtype, self.prop)

    @property
    def subject(self) -> Subject:
        """The check, and whose it is."""
        return Subject(self.id, self.planned.text, self.planned.place)

    @property
    def short(self) -> str:
        """Without the op, which the target's node names."""
        return self.id.removeprefix(f"{self.planned.plan.adapter.op.name}-")

    def judge(self, fixtures: Mapping[str, object], variant: str = "") -> None:
        """Pass, fail or skip; the dtype is judged when its first check is asked for."""
        self._says(Verdict.NOT_JUDGED)
        if self.session.case is not None:
            self._replay(self.session.case, fixtures)
            return
        record = self.session.record(self.planned, self.dtype, fixtures, variant)
        if not isinstance(record, Record):
            pytest.fail(record.text, pytrace=False)
        check = next((check for check in record.checks if check.property == self.prop), None)
        if check is None:
            pytest.skip(f"not judged: {ABSENT}")
        self._says(check.verdict, check, record.seed)
        ruling = self.session.known.ruling(check, self.planned, fixtures)
        if ruling.failure:
            told = _text(record, check) if check.verdict is Verdict.FAIL else ""
            pytest.fail("\n".join(filter(None, [ruling.failure, told])), pytrace=False)
        if ruling.excuse:
            self.properties["normcheck.known"] = ruling.excuse
            pytest.xfail(ruling.excuse)
        if check.verdict is Verdict.FAIL:
            pytest.fail(_text(record, check), pytrace=False)
        if check.verdict is Verdict.NOT_JUDGED:
            pytest.skip(f"not judged: {check.reason}")

    def _replay(self, case: Case, fixtures: Mapping[str, object]) -> None:
        """Judge one case alone."""
        from normcheck.replay import replay

        plan = self.planned.plan
        if (case.op, case.dtype) != (plan.adapter.op.name, self.dtype):
            pytest.skip(f"not judged: {case.id} is of {case.op} in {case.dtype}")
        adapter = self.planned.filled(fixtures)
        answer = replay(replace(plan, adapter=adapter, properties=(self.prop,)), case)
        if answer.status == 4:
            pytest.skip(f"not judged: {answer.text.splitlines()[-1].strip()}")
        self._says(Verdict.FAIL if answer.status else Verdict.PASS)
        if answer.status:
            pytest.fail(answer.text, pytrace=False)

    def _says(self, verdict: Verdict, check: Check | None = None, seed: int | None = None) -> None:
        self.properties.update(
            {
                "normcheck.id": self.id,
                "normcheck.target": self.planned.text,
                "normcheck.place": self.planned.place,
                "normcheck.verdict": verdict.value,
            }
        )
        if check is not None:
            case = check.failures[0].case if check.failures else check.worst_case
            self.properties.update(
                {
                    "normcheck.ratio": f"{check.worst_ratio:.6g}",
                    "normcheck.case": case,
                    "normcheck.cases": str(check.cases),
                    "normcheck.seed": str(seed),
                }
            )


def _text(record: Record, check: Check) -> str:
    """Return the words of the command line; what the same input breaks too is told once."""
    for cause in root_causes(record):
        if check == cause.lead:
            return cause_text(cause)
        if check in cause.also:
            case, ratio = check.failures[0].case, check_ratio_text(check)
            return f"{ratio} in {case}\nwhich fails {cause.lead.id}, too: that tells it in full"
    raise AssertionError(f"{check.id} fails without a cause")


def check_of(item: pytest.Item) -> CheckTest | None:
    """Return the check behind a test, None for a test that is not ours."""
    held: object = getattr(item, "normcheck_check", None)
    if held is None:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        held = parameters.get("normcheck_check")
    return held if isinstance(held, CheckTest) else None
