"""Records of many cases, made of numbers that a run might have measured."""

from __future__ import annotations

import random

from normcheck.record import Check, Measurement, Record, Verdict

DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
PROPERTIES = ("forward_accuracy", "gradients", "implied_statistics", "freshness", "every_path")
REGIMES = ("plain", "mix", "calm", "offset1e3", "outlier1e4", "const0.1", "tiny1e-6")


def measured(short: str, draw: random.Random) -> Measurement:
    """Measure a case that does not exist; one in a thousand is over budget."""
    rows, length = draw.choice((1, 3, 33, 64)), draw.choice((3, 7, 33, 257, 1024, 4097))
    ratio = draw.uniform(0.01, 0.99) if draw.random() > 1e-3 else draw.uniform(2.0, 900.0)
    case = f"nc1:rms_norm/{short}/{rows}x{length}/{draw.choice(REGIMES)}/seed={draw.randrange(999)}"
    scale = 10.0 ** draw.randrange(-6, 7)
    return Measurement(
        case=case, ratio=float(f"{ratio:.5g}"), condition=1.0,
        ulps=float(f"{draw.gauss(0.0, 0.4):.3g}"), magnitude=float(f"{scale:.3g}"),
        eps_share=float(f"{1e-5 / scale / scale:.3g}"), length=length,
    )  # fmt: skip


def with_cases(record: Record, count: int) -> Record:
    """Return a record of about so many measured cases, on three dtypes and five properties."""
    draw = random.Random(20261121)
    each = count // (len(DTYPES) * len(PROPERTIES))
    checks = []
    for dtype, short in DTYPES.items():
        for prop in PROPERTIES:
            found = [measured(short, draw) for _ in range(each)]
            over = [m for m in found if m.ratio > 1]
            worst = max(found, key=lambda m: m.ratio)
            checks.append(
                Check(
                    id=f"rms_norm-{dtype}-cpu-{prop}", property=prop, dtype=dtype, device="cpu",
                    verdict=Verdict.FAIL if over else Verdict.PASS, cases=each,
                    worst_ratio=worst.ratio, worst_case=worst.case, failing_cases=len(over),
                    measurements=found,
                )
            )  # fmt: skip
    return record.model_copy(update={"checks": checks, "cases_judged": count})
