"""Timings of a target beside others, on the same inputs; what is wrong is not ranked.

The time is pytest-benchmark's; inputs, bytes and rivals are those of `normcheck bench`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from normcheck.bench.document import Direction
from normcheck.bench.rivals import rivals
from normcheck.bench.work import Work, least_bytes, plain_case, prepare, shape_of
from normcheck.cases.materialise import Inputs, materialise
from normcheck.errors import TargetError
from normcheck.ops.op import Family
from normcheck.plugin.planning import Planned
from normcheck.plugin.session import Session
from normcheck.record import Record, Verdict
from normcheck.targets.adapter import Adapter
from normcheck.targets.frameworks import NoGradientError
from normcheck.targets.own_kernels import kernel_of
from normcheck.targets.target import adapt, load

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ["MINE", "Benchmark", "items", "timings"]

MINE, KERNEL = "target", "kernel"
_COLUMNS, _POSITIONS = 4096, 56
_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One timing.

    Attributes:
        session: The run.
        planned: The target.
        dtype: Name of the format.
        direction: ``forward`` or ``backward``.
        rival: Whose: the target's, one of `rivals`, or on a GPU our kernel's.
    """

    session: Session
    planned: Planned
    dtype: str
    direction: str
    rival: str

    @property
    def id(self) -> str:
        """Op, dtype, device, ``benchmark``, direction and rival."""
        whole = self.planned.plan.check_id(self.dtype, "benchmark")
        return f"{whole}-{self.direction}-{self.rival}"

    def time(self, benchmark: BenchmarkFixture, fixtures: Mapping[str, object]) -> None:
        """Measure it; skipped where there is nothing to rank."""
        plan = self.planned.plan
        adapter, inputs = self._adapter(fixtures), self._inputs()
        direction = Direction(self.direction)
        work = prepare(adapter, inputs, plan.device, gradients=direction is Direction.BACKWARD)
        shape = "x".join(map(str, inputs.case.shape))
        benchmark.group = f"{inputs.op.name} {self.dtype} {plan.device} {direction} {shape}"
        try:
            self._measure(benchmark, work)
        except NoGradientError as error:
            pytest.skip(f"not ranked: {error}")
        moved = least_bytes(inputs, direction, plan.policy)
        benchmark.extra_info |= {"case": inputs.case.id, "rival": self.rival, "bytes": moved}
        if benchmark.stats is not None:
            benchmark.extra_info["gb_per_s"] = round(moved / benchmark.stats.stats.min / 1e9, 3)

    def _measure(self, benchmark: BenchmarkFixture, work: Work) -> None:
        ready = torch.cuda.synchronize if self.planned.plan.device.type == "cuda" else _nothing

        def forward() -> dict[str, Tensor]:
            outputs = work.forward()
            ready()
            return outputs

        def backward(outputs: Mapping[str, Tensor]) -> None:
            work.backward(outputs)
            ready()

        if self.direction == Direction.FORWARD:
            benchmark(forward)
        else:
            benchmark.pedantic(  # type: ignore[no-untyped-call]
                backward, setup=lambda: ((forward(),), {}), rounds=_ROUNDS, warmup_rounds=3
            )

    def _adapter(self, fixtures: Mapping[str, object]) -> Adapter:
        plan = self.planned.plan
        if self.rival == MINE:
            self._refuse_what_is_wrong(fixtures)
            return self.planned.filled(fixtures)
        if self.rival == KERNEL:
            kernel = kernel_of(plan.adapter.op.name, str(plan.device))
            return load(kernel, plan.adapter.op, plan.policy)
        try:
            function = rivals(plan.adapter.op.name)[self.rival]()
        except TargetError as error:
            pytest.skip(str(error))
        return adapt(function, f"torch's {plan.adapter.op.name}", plan.adapter.op, plan.policy)

    def _refuse_what_is_wrong(self, fixtures: Mapping[str, object]) -> None:
        record = self.session.record(self.planned, self.dtype, fixtures)
        if not isinstance(record, Record):
            pytest.skip(f"not ranked: {record.text}")
        wrong = [check.id for check in record.checks if check.verdict is Verdict.FAIL]
        if wrong or record.verdict is not Verdict.PASS:
            pytest.skip(f"not ranked: {', '.join(wrong) or 'nothing was judged'}")

    def _inputs(self) -> Inputs:
        op = self.planned.plan.adapter.op
        size = _COLUMNS if op.family is Family.ROWS else _POSITIONS
        case = plain_case(op, self.dtype, shape_of(op, size))
        return materialise(self.planned.plan.adapter.conform(case))


def _nothing() -> None:
    """Wait for nothing: a CPU is done when it returns."""


def timings(session: Session, planned: Planned) -> list[Benchmark]:
    """Return the timings of a target."""
    op = planned.plan.adapter.op.name
    names = [MINE, *rivals(op)]
    if kernel_of(op, str(planned.plan.device)):
        names.append(KERNEL)
    return [
        Benchmark(session, planned, dtype, direction, rival)
        for dtype in planned.plan.dtypes
        for direction in Direction
        for rival in names
    ]


def _test(timing: Benchmark) -> Callable[..., None]:
    """Return the function that pytest runs: with the fixture of pytest-benchmark, and our own."""

    def test(**given: Any) -> None:
        timing.time(given.pop("benchmark"), given)

    names = ("benchmark", *timing.planned.contract.fixtures)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    test.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in names]
    )
    return test


def items(parent: pytest.Collector, name: str, found: Sequence[Benchmark]) -> Iterator[pytest.Item]:
    """Return a test for each timing."""
    for timing in found:
        shown = f"{name}[{timing.id}]" if name else timing.id
        item: pytest.Function = pytest.Function.from_parent(
            parent, name=shown, callobj=_test(timing), originalname=name or shown
        )
        item.add_marker(pytest.mark.normcheck_benchmark)
        yield item
