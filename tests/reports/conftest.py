from __future__ import annotations

import pytest

from normcheck.record import (
    Check,
    Environment,
    Measurement,
    Record,
    Unsupported,
    Verdict,
)

ENVIRONMENT = Environment(
    normcheck="0.1.0",
    python="3.11.9",
    torch="2.13.0",
    platform="Linux-6.1-x86_64",
    threads=8,
    cpu_capability="AVX512",
    devices={"cpu": "x86_64", "cuda": "NVIDIA H200"},
)
REFUSAL = Unsupported(
    dtype="float64", message="TypeError: no float64", cases=9, example="nc1:rms_norm/f64"
)
LARGE = "nc1:rms_norm/bf16/1x1/constant/eps=1e-06/seed=7"
MESSAGE = """\
error 1 = 128 ulp, 1280 times the budget of 0.0008

  input     1 row of 1 column, constant 3e19, weight 1, eps 1e-6
  expected  1.0       computed 0.0     at y[0, 0]
  matters   dtype, regime        does not matter: rows, columns, seed
  likely    x*x overflows to inf in bfloat16"""
REPRODUCER = """\
import torch
from mykernels import rms_norm
x = torch.full((1, 1), 3e19, dtype=torch.bfloat16)
print(rms_norm(x, torch.ones(1), 1e-6))  # 0.0, should be 1.0"""


def check(dtype: str, prop: str, verdict: Verdict = Verdict.PASS, **fields: object) -> Check:
    values = {
        "id": f"rms_norm-{dtype}-cpu-{prop}",
        "property": prop,
        "dtype": dtype,
        "device": "cpu",
        "verdict": verdict,
        "cases": 120,
        "worst_ratio": 0.41,
        "worst_case": f"nc1:rms_norm/{dtype}/4x4097/outlier1e4/seed=7",
    }
    return Check.model_validate(values | fields)


def failing(dtype: str, prop: str, ratio: float, case: str, **fields: object) -> Check:
    first = {"case": case, "ratio": ratio, "message": MESSAGE, "reproducer": REPRODUCER, **fields}
    second = {"case": f"{case}1", "ratio": 2.5, "message": "the second failure"}
    found = {"worst_ratio": ratio, "failing_cases": 13, "failures": [first, second]}
    return check(dtype, prop, Verdict.FAIL, **found)


@pytest.fixture
def record() -> Record:
    """A failing run in which every kind of thing that a report shows occurs."""
    nothing = {"cases": 0, "worst_ratio": 0.0, "worst_case": "", "reason": "no backward"}
    refused = check("float16", "gradient", Verdict.NOT_JUDGED, **nothing)
    measurements = [
        Measurement(case=f"nc1:rms_norm/f32/4x{n}/plain", ratio=n / 100, condition=1e5, ulps=-n)
        for n in range(1, 42)
    ]
    checks = [
        check("float32", "accuracy", measurements=measurements, rounding={"y": ["fused"]}),
        check("float32", "overflow", worst_ratio=0.0),
        check("float32", "gradient", without_power=3),
        failing("bfloat16", "accuracy", 31.2, LARGE),
        failing("bfloat16", "overflow", 1280.0, LARGE, likely="x*x overflows in bfloat16"),
        check("bfloat16", "gradient", rounding={"y": ["fused", "cast_then_scale"], "dx": []}),
        failing("float16", "determinism", 0.0, "nc1:rms_norm/f16/2x2/plain"),
        refused,
    ]
    fields = {
        "verdict": Verdict.FAIL,
        "target": "mykernels:rms_norm",
        "op": "rms_norm",
        "binding": "x←hidden_states, weight←weight, eps←variance_epsilon",
        "notes": ["no bias"],
        "profile": "standard",
        "seed": 20261121,
        "command": "normcheck run mykernels:rms_norm --op rms_norm --seed 20261121",
        "policies": {"eps": "outside"},
        "checks": checks,
        "unsupported": [REFUSAL],
        "cases_judged": 1400,
        "environment": ENVIRONMENT,
        "started_at": "2026-11-21T02:05:00Z",
        "elapsed_s": 41.25,
        "elapsed_target_s": 3.5,
        "elapsed_judge_s": 30.0,
    }
    return Record.model_validate(fields)


@pytest.fixture
def passing(record: Record) -> Record:
    checks = [check for check in record.checks if check.verdict is Verdict.PASS]
    return record.model_copy(update={"verdict": Verdict.PASS, "checks": checks})


@pytest.fixture
def not_judged(record: Record) -> Record:
    checks = [check for check in record.checks if check.verdict is Verdict.NOT_JUDGED]
    return record.model_copy(update={"verdict": Verdict.NOT_JUDGED, "checks": checks})
