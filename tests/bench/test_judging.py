"""What a bench is told of implementations that pass, or end the process that judges them."""

from __future__ import annotations

from pathlib import Path

from normcheck.bench.contenders import contenders, judge
from normcheck.bench.settings import Implementation, Settings
from normcheck.record import Verdict

DIES = f"{Path(__file__).with_name('samples.py')}:l2_norm_dies"


def test_what_ends_its_process_does_not_end_the_bench() -> None:
    settings = Settings(Implementation(DIES), "l2_norm", (Implementation("torch"),))
    found, notes = contenders(settings)
    assert ([each.name for each in found], notes) == ([DIES, "torch"], [])
    judgement = judge(found[0], "float32", settings)
    assert judgement.verdict is Verdict.FAIL
    assert judgement.reason.startswith(f"{DIES} ended the process (exit status 7)")


def test_conventions_of_one_are_none_of_the_others() -> None:
    other = Implementation("torch.nn.functional:rms_norm", ("eps=outside",), {"eps": 1e-3})
    settings = Settings(Implementation("torch.nn.functional:rms_norm"), "rms_norm", (other,))
    first, second = contenders(settings)[0]
    assert (first.policy.eps, second.policy.eps) == (None, "outside")
    assert second.name == "torch.nn.functional:rms_norm --policy eps=outside --set eps=0.001"
