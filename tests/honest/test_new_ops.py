"""Every honest weight, query-key, gated, adaptive and masked norm passes in every dtype."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import normcheck
from normcheck.config import DTYPES
from normcheck.record import Record, Verdict

HERE = Path(__file__).parent
PLACE, MASKED = f"{HERE / 'new_ops.py'}:", f"{HERE / 'masked_norms.py'}:"
BEFORE, ONE_PLUS = "gate=before", "weight=one_plus"


@dataclass(frozen=True)
class Honest:
    """One implementation and what it declares."""

    name: str
    op: str
    policies: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = DTYPES
    place: str = PLACE

    def run(self) -> Record:
        return normcheck.run(
            f"{self.place}{self.name}",
            op=self.op,
            dtypes=self.dtypes,
            profile="quick",
            policies=self.policies,
            verdict_only=True,
        )


HONEST = [
    Honest("weight_norm_two_pass", "weight_norm"),
    Honest("weight_norm_scaled_magnitude", "weight_norm"),
    Honest("weight_norm_torch", "weight_norm"),
    Honest("qk_norm_fused", "qk_norm"),
    Honest("qk_norm_transformers", "qk_norm"),
    Honest("qk_norm_one_plus", "qk_norm", (ONE_PLUS,)),
    Honest("qk_norm_into", "qk_norm"),
    Honest("qk_norm_in_place", "qk_norm", ("inplace=x",)),
    Honest("qk_layer_norm_fused", "qk_layer_norm"),
    Honest("qk_layer_norm_stepwise", "qk_layer_norm"),
    Honest("qk_l2_norm_floor", "qk_l2_norm"),
    Honest("qk_l2_norm_inside", "qk_l2_norm", ("eps=inside",)),
    Honest("rms_norm_gated_fused", "rms_norm_gated"),
    Honest("rms_norm_gated_qwen3_next", "rms_norm_gated"),
    Honest("rms_norm_gated_stepwise", "rms_norm_gated"),
    Honest("rms_norm_gated_by_exponential", "rms_norm_gated"),
    Honest("rms_norm_gated_by_sigmoid", "rms_norm_gated"),
    Honest("rms_norm_gated_one_plus", "rms_norm_gated", (ONE_PLUS,)),
    Honest("rms_norm_gated_before", "rms_norm_gated", (BEFORE,)),
    Honest("rms_norm_gated_before_llama", "rms_norm_gated", (BEFORE,)),
    Honest("rms_norm_gated_before_stepwise", "rms_norm_gated", (BEFORE,)),
    Honest("ada_layer_norm_fused", "ada_layer_norm"),
    Honest("ada_layer_norm_modulate", "ada_layer_norm"),
    Honest("ada_layer_norm_functional", "ada_layer_norm"),
    Honest("ada_layer_norm_plain", "ada_layer_norm", ("weight=plain",)),
    Honest("masked_batch_norm_selected", "masked_batch_norm", place=MASKED),
    Honest("masked_batch_norm_weighted", "masked_batch_norm", place=MASKED),
]


@pytest.mark.parametrize("honest", HONEST, ids=[honest.name for honest in HONEST])
def test_an_honest_implementation_passes(honest: Honest) -> None:
    record = honest.run()
    failing = [
        f"{check.id}: {check.worst_ratio:.3g} at {check.worst_case}"
        for check in record.checks
        if check.verdict is Verdict.FAIL
    ]
    assert failing == []
    assert record.verdict is Verdict.PASS
    assert not record.incomplete
