"""From contracts and targets to tests: one per op, dtype, device and property."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from normcheck.errors import NormcheckError, NothingToRunError
from normcheck.plugin.check import CheckTest
from normcheck.plugin.contract import ARGUMENT, Contract
from normcheck.plugin.session import Session, session_of

__all__ = ["Target", "TargetCheck", "parametrize", "targets", "timed"]


def parametrize(metafunc: pytest.Metafunc, contract: Contract, session: Session) -> None:
    """Multiply one test."""
    try:
        planned = session.plan(contract, metafunc.definition.nodeid)
    except NothingToRunError as error:
        if metafunc.config.option.normcheck_require_device:
            raise pytest.UsageError(str(error)) from None
        absent = pytest.param(None, marks=pytest.mark.skip(reason=str(error)), id="not-judged")
        metafunc.parametrize(ARGUMENT, [absent])
        return
    except NormcheckError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    checks = session.checks(planned)
    if not checks:
        raise pytest.Collector.CollectError(f"{planned.text}: its contract has no checks")
    metafunc.parametrize(
        ARGUMENT, [pytest.param(check, marks=_mark(check), id=check.id) for check in checks]
    )


def _mark(check: CheckTest) -> pytest.MarkDecorator:
    plan = check.planned.plan
    return pytest.mark.normcheck(
        op=plan.adapter.op.name, dtype=check.dtype, device=plan.device.type, property=check.prop
    )


def targets(session: pytest.Session) -> Iterator[Target]:
    """Return a collector for each target that needs no test file."""
    ours = session_of(session.config)
    for name, (op, target) in ours.asked.items():
        found: Target = Target.from_parent(
            session, name=name, nodeid=f"normcheck::{name}", path=Path(session.path)
        )
        found.contract = Contract(
            target, target, op,
            policies=tuple(session.config.option.normcheck_policy),
        )  # fmt: skip
        yield found


def timed(collector: pytest.Collector, name: str, test: object) -> list[pytest.Item]:
    """Return the timings of a test that is a contract; none of any other, or in a class."""
    contract = getattr(test, "normcheck_contract", None)
    if not isinstance(contract, Contract) or collector.getparent(pytest.Class) is not None:
        return []
    from normcheck.plugin.benchmarks import items, timings

    ours = session_of(collector.config)
    place = f"{collector.nodeid}::{name}"
    return [
        item
        for planned in ours.planned
        if planned.place == place
        for item in items(collector, name, timings(ours, planned))
    ]


class Target(pytest.Collector):
    """A target that the command line names."""

    contract: Contract

    def collect(self) -> Iterator[pytest.Item]:
        """Return its checks.

        Raises:
            CollectError: It cannot be found, imported or bound, or its device is absent.
        """
        session = session_of(self.config)
        try:
            planned = session.plan(self.contract, self.nodeid)
        except NormcheckError as error:
            raise self.CollectError(str(error)) from None
        chosen = session.chosen(self.nodeid)
        only = set(chosen)
        for check in session.checks(planned):
            if only and f"{self.nodeid}::{check.short}" not in only:
                continue
            item: TargetCheck = TargetCheck.from_parent(self, name=check.short)
            item.normcheck_check = check
            item.add_marker(_mark(check))
            chosen = [text for text in chosen if text != item.nodeid]
            yield item
        if chosen:
            raise self.CollectError(f"not found: {', '.join(chosen)}")
        if self.config.option.normcheck_benchmark:
            from normcheck.plugin.benchmarks import items, timings

            yield from items(self, "", timings(session, planned))


class TargetCheck(pytest.Item):
    """One check of such a target."""

    normcheck_check: CheckTest

    def runtest(self) -> None:
        """Judge it."""
        self.normcheck_check.judge({})

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where it is: in no file."""
        return self.path, None, self.nodeid
