"""How long each published protocol takes on one right implementation, and normcheck beside it."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import normcheck
from normcheck.record import Record
from tests.benchmarks.peers.catalogue import HONEST, OPS, PROTOCOLS
from tests.benchmarks.peers.protocol import Protocol

TWO_PASS = {op: next(s for s in HONEST if s.name == f"{op}_two_pass") for op in OPS}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: f"{p.op}-{p.name}")
def test_protocol(benchmark: BenchmarkFixture, protocol: Protocol) -> None:
    run = benchmark.pedantic
    accepted = run(protocol.accepts, args=(TWO_PASS[protocol.op],), rounds=3)  # type: ignore[no-untyped-call]
    assert accepted


@pytest.mark.parametrize("op", OPS)
def test_normcheck_quick(benchmark: BenchmarkFixture, op: str) -> None:
    def run() -> Record:
        return normcheck.run(
            TWO_PASS[op].target, op=op, profile="quick", fail_fast=True, verdict_only=True
        )

    record: Record = benchmark.pedantic(run, rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert record.cases_judged
