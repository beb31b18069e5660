"""Runs a protocol, and normcheck itself, over everything broken and everything honest."""

from __future__ import annotations

import os
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import normcheck
from normcheck.properties.failure_modes.catalogue import FailureMode
from normcheck.record import Verdict
from tests.benchmarks.peers.catalogue import HONEST, broken, mutant
from tests.benchmarks.peers.protocol import Protocol, passes
from tests.benchmarks.peers.subject import Subject

_ACCEPTED, _FAILED = "accepted", "failed: "
Accepts = Callable[[Subject], bool]


@dataclass(slots=True)
class Score:
    """What one way to test made of one op.

    Attributes:
        name: The way.
        op: The op.
        missed: Names of the mutants that it accepts.
        blamed: Names of the honest implementations that it rejects.
        seconds: Median processor time of an honest implementation that it accepts.
        protocol: None for normcheck.
    """

    name: str
    op: str
    missed: set[str] = field(default_factory=set)
    blamed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    protocol: Protocol | None = None

    @property
    def sees_gradients(self) -> bool:
        return self.protocol is None or self.protocol.sees_gradients


def judged_by_normcheck(profile: str) -> Accepts:
    """Accept what passes a run of all properties that stops at the first failure."""

    def accepts(subject: Subject) -> bool:
        record = normcheck.run(
            subject.target,
            op=subject.op,
            dtypes=subject.dtypes,
            profile=profile,
            policies=subject.policies,
            fail_fast=True,
            verdict_only=True,
        )
        if record.verdict not in (Verdict.PASS, Verdict.FAIL):
            raise RuntimeError(f"{subject.name} is {record.verdict}, but must be judged")
        return record.verdict is Verdict.PASS

    return accepts


def alone(accepts: Accepts, subject: Subject) -> tuple[bool, float]:
    """Judge in a child: some mutants keep state from call to call, and some end the process.

    Returns:
        Whether it was accepted, which who ends the process is not, and the processor's seconds.

    Raises:
        RuntimeError: The protocol itself failed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, _verdict(accepts, subject).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if told.startswith(_FAILED):
        raise RuntimeError(f"{subject.name}: {told}")
    verdict, _, seconds = told.partition(" ")
    return verdict == _ACCEPTED, float(seconds or 0.0)


def _verdict(accepts: Accepts, subject: Subject) -> str:
    before = _processor_seconds()
    try:
        verdict = _ACCEPTED if accepts(subject) else "rejected"
    except Exception:
        return f"{_FAILED}{traceback.format_exc()}"
    return f"{verdict} {_processor_seconds() - before}"


def _processor_seconds() -> float:
    """Time of this process and of the children that it has waited for, whoever else is running."""
    return time.process_time() + sum(os.times()[2:4])


def score(
    found: Score, accepts: Accepts, modes: Sequence[FailureMode], prepared: Accepts | None = None
) -> Score:
    """Judge the honest implementations of an op, then its mutants.

    Args:
        found: Is filled in.
        accepts: Judges, and is timed, from nothing.
        modes: Of this op and others.
        prepared: Judges mutants to the same verdict, with data and references at hand.
    """
    honest = [subject for subject in HONEST if subject.op == found.op]
    # What is worked out once, or imported, is so here and not in every child.
    for first_use in filter(None, (accepts, prepared)):
        first_use(honest[0])
    times = []
    for subject in honest:
        accepted, seconds = alone(accepts, subject)
        if accepted:
            times.append(seconds)
        else:
            found.blamed.append(subject.name)
    found.seconds = statistics.median(times) if times else float("nan")
    mine = [mode for mode in modes if mode.op == found.op]
    found.missed = {m.name for m in mine if alone(prepared or accepts, mutant(m))[0]}
    return found


def score_protocol(protocol: Protocol) -> Score:
    checks = list(protocol.make(protocol.op))

    def prepared(subject: Subject) -> bool:
        return passes(subject, checks)

    found = Score(protocol.name, protocol.op, protocol=protocol)
    return score(found, protocol.accepts, broken(), prepared)


def score_normcheck(profile: str, op: str) -> Score:
    found = Score(f"normcheck, {profile}", op)
    return score(found, judged_by_normcheck(profile), broken())
