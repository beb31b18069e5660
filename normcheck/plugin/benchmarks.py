"""Timings of a target beside torch's own, on the same inputs; what is wrong is not ranked.

The time is pytest-benchmark's. Bytes are those that a kernel has to move at least: forward, inputs
and outputs once each; backward, inputs, the gradients that are fed in and those that come out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.ops.op import Family
from normcheck.plugin.planning import Planned
from normcheck.plugin.session import Session
from normcheck.record import Record, Verdict
from normcheck.targets.adapter import Adapter
from normcheck.targets.frameworks import Call, NoGradientError
from normcheck.targets.target import adapt

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ["MINE", "Benchmark", "items", "rivals", "timings"]

MINE = "target"
_ROWS, _CHANNELS = (1024, 4096), (16, 64, 56, 56)
_ROUNDS = 30
_TORCH = {
    "layer_norm": "layer_norm", "rms_norm": "rms_norm", "group_norm": "group_norm",
    "instance_norm": "instance_norm", "batch_norm": "batch_norm", "l2_norm": "normalize",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One timing.

    Attributes:
        session: The run.
        planned: The target.
        dtype: Name of the format.
        direction: ``forward`` or ``backward``.
        rival: Whose: the target's, or one of `rivals`.
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
        adapter, inputs = self._adapter(fixtures), self._inputs()
        device = self.planned.plan.device
        tensors = {name: t.to(device) for name, t in inputs.tensors.items()}
        dy = {name: t.to(device) for name, t in inputs.dy.items()}
        if self.direction == "backward":
            for parameter in inputs.op.tensors:
                if parameter.differentiable and parameter.name in tensors:
                    tensors[parameter.name].requires_grad_()
        call = adapter.prepare(inputs, tensors)
        shape = "x".join(map(str, inputs.case.shape))
        benchmark.group = f"{inputs.op.name} {self.dtype} {device} {self.direction} {shape}"
        try:
            moved = self._measured(benchmark, call, dy, tensors)
        except NoGradientError as error:
            pytest.skip(f"not ranked: {error}")
        benchmark.extra_info |= {"case": inputs.case.id, "rival": self.rival, "bytes": moved}
        if benchmark.stats is not None:
            benchmark.extra_info["gb_per_s"] = round(moved / benchmark.stats.stats.min / 1e9, 3)

    def _measured(
        self,
        benchmark: BenchmarkFixture,
        call: Call,
        dy: Mapping[str, Tensor],
        tensors: Mapping[str, Tensor],
    ) -> int:
        """Measure, and return the bytes that have to be moved."""
        ready = torch.cuda.synchronize if self.planned.plan.device.type == "cuda" else _nothing

        def forward() -> dict[str, Tensor]:
            outputs = call.run()
            ready()
            return outputs

        if self.direction == "forward":
            outputs = benchmark(forward)
            return _size([*tensors.values(), *outputs.values()])

        def backward(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            gradients = call.backward(outputs, dy)
            ready()
            return gradients

        gradients = benchmark.pedantic(  # type: ignore[no-untyped-call]
            backward, setup=lambda: ((forward(),), {}), rounds=_ROUNDS, warmup_rounds=3
        )
        return _size([*tensors.values(), *dy.values(), *gradients.values()])

    def _adapter(self, fixtures: Mapping[str, object]) -> Adapter:
        plan = self.planned.plan
        if self.rival == MINE:
            self._refuse_what_is_wrong(fixtures)
            return self.planned.filled(fixtures)
        function = rivals(plan.adapter.op.name)[self.rival]()
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
        shape = _ROWS if op.family is Family.ROWS else _CHANNELS
        groups = 32 if op.parameter("num_groups") else 1
        case = Case(op.name, self.dtype, op.shaped(shape) or shape, "plain", groups=groups)
        return materialise(self.planned.plan.adapter.conform(case))


def _nothing() -> None:
    """Wait for nothing: a CPU is done when it returns."""


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def rivals(op: str) -> Mapping[str, Callable[[], Callable[..., Any]]]:
    """Return what an op is compared with: torch's function as it is, and compiled."""
    name = _TORCH.get(op)
    if name is None:
        return {}
    function = getattr(torch.nn.functional, name)

    def compiled() -> Callable[..., Any]:
        try:
            made: Any = torch.compile(function, dynamic=False)
            made(torch.ones(2, 2, 2), *([(2,)] if op in ("layer_norm", "rms_norm") else []))
        except Exception as error:
            pytest.skip(f"torch.compile does not work here: {str(error).splitlines()[0]}")
        # torch.compile hides the signature, which tells how it is called.
        made.__signature__ = inspect.signature(function)
        return made  # type: ignore[no-any-return]

    return {"torch": lambda: function, "compiled": compiled}


def timings(session: Session, planned: Planned) -> list[Benchmark]:
    """Return the timings of a target."""
    names = (MINE, *rivals(planned.plan.adapter.op.name))
    return [
        Benchmark(session, planned, dtype, direction, rival)
        for dtype in planned.plan.dtypes
        for direction in ("forward", "backward")
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
