"""Cases per second, rows per second, and the share of time spent on what a run is for.

Run by `make bench`. Nothing here asserts a time: machines differ, and a busy one is slower.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import normcheck
from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.config import DTYPES
from normcheck.numerics.judge import judge
from normcheck.policy import Policy
from normcheck.record import Record

OPS = ("layer_norm", "rms_norm", "batch_norm")


def _rows(record: Record) -> int:
    """Rows (or slices) of all cases that were judged."""
    names = {m.case for check in record.checks for m in check.measurements}
    total = 0
    for name in names:
        reduction = materialise(Case.parse(name)).reduction
        total += Case.parse(name).elements // max(reduction.count, 1)
    return total


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("op", OPS)
def test_whole_run(benchmark: BenchmarkFixture, op: str, profile: str) -> None:
    target = f"torch.nn.functional:{op}"

    def run() -> Record:
        return normcheck.run(target, op=op, profile=profile, dtypes=DTYPES)

    rounds = 1 if profile == "standard" else 3
    record: Record = benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)  # type: ignore[no-untyped-call]
    inside = record.elapsed_target_s + record.elapsed_judge_s
    benchmark.extra_info["cases per second"] = round(record.cases_judged / record.elapsed_s)
    benchmark.extra_info["rows per second"] = round(_rows(record) / record.elapsed_s)
    benchmark.extra_info["share inside target and judge"] = round(inside / record.elapsed_s, 2)
    print(f"\n{op} {profile}: {dict(benchmark.extra_info)}")  # noqa: T201


@pytest.mark.parametrize("rows", [64, 512, 4096])
@pytest.mark.parametrize("dtype", ["bf16", "f32", "f64"])
def test_judge_grows_linearly(benchmark: BenchmarkFixture, dtype: str, rows: int) -> None:
    inputs = materialise(Case.parse(f"nc1:layer_norm/{dtype}/{rows}x512/mix"))
    y = inputs.tensors["x"]
    gradients = {"x": y, "weight": inputs.tensors["weight"], "bias": inputs.tensors["bias"]}
    observed = observed_of(inputs, {"y": y}, gradients, {})
    benchmark(judge, pose(inputs, Policy()), observed)
    assert benchmark.stats is not None, "the benchmark has run"
    per_element = benchmark.stats.stats.median / inputs.case.elements
    benchmark.extra_info["ns per element"] = round(per_element * 1e9)
