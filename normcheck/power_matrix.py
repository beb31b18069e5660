"""Which property catches which failure mode, where, and how soon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from normcheck import config
from normcheck.cases.corpus import corpus
from normcheck.cases.materialise import materialise
from normcheck.execution.executor import executor_for
from normcheck.execution.ranks import OP_ON_RANKS
from normcheck.execution.stopwatch import threads
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops import catalogue as ops
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.failure_modes import catalogue
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.properties.property import Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.target import load

__all__ = ["Detection", "Row", "rows"]

# After its own property has caught a mutant, so many cases still look for others that do.
_LOOKED_FURTHER = 12
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Detection:
    """A property that catches a failure mode.

    Attributes:
        property: Its name.
        seconds: From the first call until it did, judging all properties on every case.
        case: Id of the case.
    """

    property: str
    seconds: float
    case: str


@dataclass(slots=True)
class Row:
    """One failure mode.

    Attributes:
        mode: Which one.
        detections: By the name of the property, in the order of time.
        cases: Cases that were judged.
    """

    mode: FailureMode
    detections: dict[str, Detection] = field(default_factory=dict)
    cases: int = 0

    @property
    def own(self) -> Detection | None:
        """The detection by the property that must catch it."""
        return self.detections.get(self.mode.caught_by)

    @property
    def first(self) -> Detection | None:
        """The first of all."""
        return next(iter(self.detections.values()), None)


def rows(op: str, profile: str, *, everywhere: bool = False) -> Iterator[Row]:
    """Yield a row for every failure mode of an op.

    Args:
        op: Name of the op.
        profile: Whose corpus is judged; nothing is drawn.
        everywhere: Whether to judge the whole corpus, however soon a mutant is caught.

    Raises:
        UsageError: Op or profile is unknown; the message names the nearest.
    """
    ops.find(op)
    depth = config.profile(profile).depth
    for mode in catalogue.of_op(op):
        with threads(1):
            yield _row(mode, depth, everywhere=everywhere)


def _row(mode: FailureMode, depth: int, *, everywhere: bool) -> Row:
    op, policy = ops.find(mode.op), Policy.parse(mode.policies)
    adapter = load(mode.target, op, policy)
    executor = executor_for(adapter, _CPU, policy, Watchdog(60.0))
    executor.threads = 1
    # What ends the process is called only by the property that calls it in a child.
    names = [mode.caught_by] if mode.deadly else list(registry.names())
    found = [registry.find(name) for name in names]
    properties = [p for p in found if p.concerns(adapter) and p.declared in ("", *mode.policies)]
    properties = [p for p in properties if not (p.local and op.name == OP_ON_RANKS)]
    row, choice, left = Row(mode), RoundingChoice(), _LOOKED_FURTHER
    started = time.perf_counter()
    for case in corpus(op, mode.dtype, depth):
        fitting = adapter.conform(case)
        trial = Trial(materialise(fitting), executor, policy, choice)
        row.cases += 1
        for prop in properties:
            if prop.name not in row.detections and _violated(prop, trial):
                seconds = time.perf_counter() - started
                row.detections[prop.name] = Detection(prop.name, seconds, fitting.id)
        left -= row.own is not None
        if left == 0 and not everywhere:
            break
    return row


def _violated(prop: Property, trial: Trial) -> bool:
    return prop.judge(trial).status is Status.VIOLATED
