"""sync_batch_norm on real ranks: the honest implementation passes, every mutant is caught."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from normcheck.cases.corpus import corpus
from normcheck.cases.materialise import materialise
from normcheck.execution.executor import executor_for
from normcheck.execution.in_process import InProcess
from normcheck.execution.rank_pool import close_pool
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.property import Outcome, Status
from normcheck.properties.trial import Trial
from normcheck.targets.target import load

HONEST = f"{Path(__file__).parent / 'sync_norms.py'}:sync_batch_norm"
MUTANTS = "normcheck.properties.failure_modes.sync_batch_norm:"
OP = catalogue.find("sync_batch_norm")
ALL = (
    "forward_accuracy", "gradients", "running_statistics", "output_contract", "inputs_unchanged",
    "nonfinite_containment", "forward_determinism", "requires_grad_subsets", "eval_gradients",
    "running_state_machine", "train_inference_agreement", "freshness", "interleaved_calls",
    "optional_arguments", "reentrancy",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _no_rank_is_left() -> Iterator[None]:
    yield
    close_pool()


def executor(target: str) -> InProcess:
    policy = Policy()
    return executor_for(load(target, OP, policy), torch.device("cpu"), policy, Watchdog(60.0))


def outcomes(target: str, dtype: str, names: tuple[str, ...]) -> Iterator[tuple[str, Outcome]]:
    on_ranks, choice = executor(target), RoundingChoice()
    for case in corpus(OP, dtype, 1):
        trial = Trial(materialise(on_ranks.adapter.conform(case)), on_ranks, Policy(), choice)
        for name in names:
            yield name, registry.find(name).judge(trial)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_honest_implementation_passes(dtype: str) -> None:
    found = list(outcomes(HONEST, dtype, ALL))
    wrong = [(n, o.finding) for n, o in found if o.status is Status.VIOLATED]
    assert wrong == []
    held = {name for name, outcome in found if outcome.status is Status.HELD}
    assert {"forward_accuracy", "gradients", "running_statistics", "requires_grad_subsets"} <= held


CAUGHT = {
    "averaged_variances": ("forward_accuracy", "float32"),
    "equal_weights": ("forward_accuracy", "float32"),
    "local_count": ("running_statistics", "float32"),
    "counts_in_half": ("forward_accuracy", "bfloat16"),
    "empty_shard_is_nan": ("forward_accuracy", "float32"),
    "unweighted_gradient_means": ("gradients", "float32"),
    "local_gradient": ("gradients", "float32"),
    "parameters_reduced_twice": ("gradients", "float32"),
    "buffers_of_own_shard": ("running_statistics", "float32"),
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_mutant_is_caught_by_its_property(name: str) -> None:
    prop, dtype = CAUGHT[name]
    found = outcomes(f"{MUTANTS}{name}", dtype, (prop,))
    first = next((outcome for _, outcome in found if outcome.status is Status.VIOLATED), None)
    assert first is not None
    assert first.ratio > 1.0
