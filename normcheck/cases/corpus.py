"""The fixed cases that run first, in every profile: what has broken kernels before.

Written as the tail of case ids. Rows ops: rows x columns, many regimes packed into the rows.
Channel ops: (N, C, *spatial), many regimes packed into the slices.
"""

from __future__ import annotations

from dataclasses import replace

from normcheck.cases.case import DEFAULT_MOMENTUM, Case
from normcheck.cases.materialise import has_groups
from normcheck.cases.sweeps import sweep
from normcheck.ops.op import Family, Op

__all__ = ["corpus", "expressible", "fitted"]

_MOST_GROUPS = 8

_ROWS_QUICK = """
33x17/mix/eps=1.0 33x64/calm/eps=0.01 33x257/mix/seed=1 600x48/calm/seed=2 33x1000/mix/seed=3
7x513/bad 33x2/mix/seed=4 33x3/mix/eps=1e-6/seed=5 33x8/mix/weight=none/bias=none/seed=6
33x65/mix/eps=1e-12/seed=7 33x127/mix/bias=none/seed=8 9x256/calm/weight=none/seed=9
6x64/calm/layout=strided/seed=10 33x1023/mix/eps=0.001/seed=11 33x1025/mix/seed=12
4x4097/calm/seed=13 3x8191/mix/seed=14 1x1/plain 1x1/const1e4 3x1/mix/seed=15 1x2/plain/seed=16
2x3/offset1e3/seed=17 7/plain/seed=18 1x100/offset1e3/seed=19 4x3x5/calm/dims=2/seed=20
3x5x7x16/mix/seed=21 2x3x4x5/calm/dims=3/seed=22 1x2x3x2x9/calm/seed=23 0x7/plain
3x11x64/mix/seed=28 6x64/calm/layout=pitched/seed=29 4x9x33/calm/seed=30
65537x2/calm/seed=24 5x32/bad/seed=25 14x96/calm/eps=0.0/seed=26 33x31/mix/eps=1e-5/seed=27
"""

_ROWS_STANDARD = """
33x255/mix/seed=31 33x256/mix/seed=32 33x1024/mix/eps=1e-12/seed=33 33x2048/mix/seed=34
33x4095/mix/seed=35 33x4096/mix/seed=36 33x4097/mix/seed=37 9x8192/mix/seed=38 9x8193/mix/seed=39
2x33x768/mix/seed=74 2049x257/calm/seed=75 33x129/mix/layout=pitched/seed=76
4x16385/mix/seed=40 2x32768/calm/seed=41 1x131072/positive/seed=42 2x65536/calm/seed=43
65535x5/calm/seed=44 65536x3/calm/seed=45 65537x7/mix/seed=46 4099x33/calm/seed=47
64x64/calm/seed=48 128x128/mix/seed=49 97x97/calm/seed=50 33x769/mix/seed=51 33x1600/mix/seed=52
33x2880/mix/seed=53 34x5/mix/eps=1.0/seed=54 35x33/mix/eps=0.01/seed=55 34x63/mix/seed=56
34x129/mix/eps=1e-12/weight=none/seed=57 33x511/mix/seed=58 33x768/mix/seed=59
17x4/calm/eps=0.0/seed=60 5x3x33x9/mix/dims=1/seed=61 3x4x5x6x7/calm/dims=4/seed=62
34x2x3x5/mix/dims=3/seed=63 12x5120/mix/seed=64 0x1024/plain/seed=65 2x0x8/plain/seed=66
33x512/mix/layout=strided/seed=67
14x4096/calm/eps=1.0/seed=68 300x257/bad/seed=69 2049x16/calm/bias=none/seed=70
33x1/mix/eps=1.0/seed=71 33x7/mix/eps=1e-6/seed=72 8x12288/calm/seed=73
"""

_ROWS_THOROUGH = """
33x8191/mix/seed=81 33x8192/mix/seed=82 33x8193/mix/seed=83 33x16384/mix/seed=84
33x16385/mix/seed=85 131071x9/mix/seed=86 131072x8/calm/seed=87 4x262144/mix/seed=88
2x1048576/calm/seed=89 262147x4/calm/seed=90 66x5120/mix/eps=1e-12/seed=91 1024x1024/mix/seed=92
"""

_CHANNELS_QUICK = """
5x36x7/mix/eps=0.01 8x36x5x5/mix/seed=1 300x6x3/calm/seed=2 5x10x9/bad/seed=3 9x34x4x4/calm/seed=4
8x36x6x6/mix/layout=channels_last/seed=5 6x36x9/mix/stats=none/seed=6
3x34x2x3x4/mix/momentum=1.0/seed=7 7x36x5/mix/mode=eval/seed=8 4x12x8x8/calm/mode=eval/seed=9
4x6x9/calm/weight=none/bias=none/eps=1.0/seed=10 5x34x3/mix/momentum=0.0/eps=1e-12/seed=11
2x4x1025/mix/seed=12 2x34x257/mix/seed=13 1x2x3/plain/seed=14 1x4x2x2/offset1e3/seed=15
2x2x1/plain/seed=16 1x2x1/plain/seed=17 3x36x8x8/mix/mode=eval/layout=channels_last/seed=18
40x36/mix/seed=19 5x6x1x1/calm/seed=22 1x6x9/calm/mode=eval/seed=23 0x4x5/plain/seed=20
3x64x4x4/offset1e3/layout=channels_last/seed=21
"""

_CHANNELS_STANDARD = """
16x36x16x16/mix/seed=31 2x36x33x33/mix/seed=32 64x34x31/mix/seed=33 4x8x4097/mix/seed=34
2049x4x5/calm/seed=35 2x36x7x7x7/mix/seed=36 8x36x17x17/mix/layout=channels_last/seed=37
3x34x5x5x5/mix/layout=channels_last/seed=38 4x36x127/mix/eps=1e-12/seed=39
4x36x129/mix/eps=1.0/seed=40 6x36x64/calm/stats=none/seed=41 5x34x255/mix/bias=none/seed=42
2x130x9x9/mix/seed=43 1x36x128x128/mix/seed=44 37x36x3/mix/momentum=0.5/seed=45
9x36x11/mix/mode=eval/eps=1e-12/seed=46 4x34x15x15/bad/seed=47 2x36x3x3/mix/eps=0.001/seed=48
128x36/calm/seed=49 2x36x4/calm/eps=0.0/seed=50 65537x2x2/calm/seed=51 3x1024x6/calm/seed=52
2x64x32x32/offset1e3/layout=channels_last/seed=53 2x3x224x224/calm/seed=54
"""

_CHANNELS_THOROUGH = """
32x64x56x56/mix/seed=81 8x256x28x28/mix/layout=channels_last/seed=82 2x65537x2/calm/seed=83
131072x4x3/calm/seed=84 2x4x262147/mix/seed=85 4x36x64x64/mix/eps=1e-12/seed=86
"""

_TABLES = {
    Family.ROWS: (_ROWS_QUICK, _ROWS_STANDARD, _ROWS_THOROUGH),
    Family.CHANNELS: (_CHANNELS_QUICK, _CHANNELS_STANDARD, _CHANNELS_THOROUGH),
}


def corpus(op: Op, dtype: str, depth: int) -> list[Case]:
    """Return the fixed cases of an op.

    Args:
        op: The op.
        dtype: Name of the format.
        depth: 1 for the quick tables only, 2 for the standard ones and sweeps of sizes too, 3 for
            all.
    """
    short = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}[dtype]
    found = []
    for table in _TABLES[op.family][:depth]:
        for tail in table.split():
            fitting = fitted(Case.parse(f"nc1:{op.name}/{short}/{tail}"), op)
            if fitting is not None:
                found.append(fitting)
    if depth > 1:
        # Sizes last: what is wrong at one size only is rarer than what is wrong at all of them.
        fitting_sizes = (fitted(case, op) for case in sweep(op, dtype))
        found += [case for case in fitting_sizes if case is not None]
    return found


def expressible(case: Case, op: Op) -> Case | None:
    """Return the nearest case that the op has a meaning for, None where there is none.

    A case that has a meaning comes back as it is: shrinking and replaying rely on that.
    """
    shape = op.shaped(case.shape)
    if shape is None:
        return None
    if shape != case.shape:
        flat = case.layout == "channels_last" and len(shape) not in (4, 5)
        case = replace(case, shape=shape, layout="contiguous" if flat else case.layout)
    for name in ("weight", "bias"):
        parameter = op.parameter(name)
        if parameter is not None and not parameter.optional:
            case = case.changed(**{name: "mixed"})
    if op.parameter("eps") is None:
        case = replace(case, eps=None)
    if op.parameter("group_size") is not None and shape[-1] % case.groups:
        case = replace(case, groups=1)
    return case


def _grouped(case: Case, op: Op) -> Case:
    """Choose the number of groups of a case that leaves it open."""
    if case.groups != 1 or not has_groups(op):
        return case
    size = case.shape[-1] if op.parameter("group_size") else case.shape[1]
    divisors = [g for g in range(1, size // 2 + 1) if size % g == 0]
    if op.parameter("group_size") is not None:
        # One group, as most models have, in every other case.
        divisors = [g for g in divisors if g <= _MOST_GROUPS] if case.seed % 2 else []
    # A few wide groups in one case, many narrow ones in the next.
    return replace(case, groups=divisors[-1 - case.seed % len(divisors)] if divisors else 1)


def fitted(case: Case, op: Op) -> Case | None:
    """Return the case with what only this op needs, None where the op has no meaning for it."""
    found = expressible(case, op)
    if found is None:
        return None
    case = found
    if op.parameter("normalized_shape") is None:
        case = replace(case, dims=1)
    if not op.tracks_statistics:
        case = replace(case, mode="train", stats="tracked", momentum=DEFAULT_MOMENTUM)
    for name in ("weight", "bias"):
        if op.parameter(name) is None:
            case = case.changed(**{name: "mixed"})
    case = _grouped(case, op)
    if op.name == "instance_norm" and len(case.shape) < 3:
        return None
    if op.eps_place == "floor" and case.eps is not None and case.eps < 0.001:
        case = replace(case, eps=None)
    return case
