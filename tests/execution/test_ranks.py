"""Three ranks in processes of their own: shards, merging, and ranks that die, hang or refuse."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.errors import TargetError
from normcheck.execution.executor import executor_for
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.rank_pool import close_pool, pool
from normcheck.execution.ranks import WORLD, Ranks, shards
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.target import adapt, load

HERE = Path(__file__).parent
TARGETS = f"{HERE / 'rank_targets.py'}:"
HONEST = f"{HERE.parent / 'honest' / 'sync_norms.py'}:sync_batch_norm"
OP = catalogue.find("sync_batch_norm")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _no_rank_is_left() -> Iterator[None]:
    yield
    close_pool()


def inputs(tail: str = "f32/11x4x3/plain/seed=2") -> Inputs:
    return materialise(Case.parse(f"nc1:sync_batch_norm/{tail}"))


def ranks(target: str, limit_s: float = 60.0) -> InProcess:
    policy = Policy()
    return executor_for(load(target, OP, policy), CPU, policy, Watchdog(limit_s))


def raised(observed: Observation) -> tuple[Trouble, str]:
    assert observed.raised is not None
    return observed.raised.trouble, observed.raised.text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("samples", [0, 1, 2, 3, 8, 9, 300])
def test_shards_cover_the_batch_and_are_uneven(samples: int, seed: int) -> None:
    sizes = shards(samples, seed)
    assert len(sizes) == WORLD
    assert sum(sizes) == samples
    assert min(sizes) >= 0
    assert len(set(sizes)) > 1 or samples in (0, 3)


def test_every_rank_gets_an_empty_shard_in_some_case() -> None:
    empty = [{rank for rank, size in enumerate(shards(9, seed)) if not size} for seed in range(4)]
    assert set.union(*empty) == {0, 1, 2}
    assert shards(40, 0) == (1, 7, 32)


def test_other_ops_are_called_in_process() -> None:
    policy = Policy()
    op = catalogue.find("batch_norm")
    adapter = load("torch.nn.functional:batch_norm", op, policy)
    assert type(executor_for(adapter, CPU, policy, Watchdog(1.0))) is InProcess


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("seed", range(4))
def test_the_parts_make_the_whole_that_torch_computes(seed: int, dtype: str) -> None:
    given = inputs(f"{dtype}/11x4x3/plain/seed={seed}")
    observed = ranks(HONEST).backward(given)
    tensors = {name: t.clone() for name, t in given.tensors.items()}
    x, w, b = (tensors[name].requires_grad_() for name in ("x", "weight", "bias"))
    mean, var = tensors["running_mean"], tensors["running_var"]
    y = torch.nn.functional.batch_norm(x, mean, var, w, b, True, 0.2, 1e-5)
    expected = torch.autograd.grad(y, (x, w, b), given.dy["y"])
    torch.testing.assert_close(observed.outputs["y"], y.detach())
    for name, gradient in zip(("x", "weight", "bias"), expected, strict=True):
        torch.testing.assert_close(observed.gradients[name], gradient)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(observed.state[name], tensors[name].detach())


def test_half_precision_has_float32_parameters_and_gradients_of_its_own_format() -> None:
    observed = ranks(HONEST).backward(inputs("bf16/11x4x3/plain/seed=2"))
    assert observed.raised is None
    assert observed.outputs["y"].dtype == torch.bfloat16
    assert observed.state["running_var"].dtype == torch.float32
    assert {g.dtype for g in observed.gradients.values()} == {torch.bfloat16}


def test_what_a_target_prints_is_not_taken_for_an_answer() -> None:
    observed = ranks(f"{TARGETS}prints").forward(inputs())
    assert observed.raised is None
    assert torch.equal(observed.outputs["y"], inputs().tensors["x"])


@pytest.mark.parametrize(
    ("target", "trouble", "text"),
    [
        ("dies_on_rank_1", Trouble.EXITED, "ended the process of rank 1 with SIGKILL"),
        ("exits_on_rank_2", Trouble.EXITED, "ended the process of rank 2 with exit status 3"),
        ("hangs_on_rank_0", Trouble.HUNG, "did not return within 5 s on rank 0"),
        (
            "refuses_everywhere",
            Trouble.REFUSED,
            "TypeError: x is torch.float32, but must be int8 (on rank 0)",
        ),
        (
            "whole_on_rank_0",
            Trouble.UNEXPECTED,
            "y has the shape (20, 4, 3) on rank 0, whose shard has (10, 4, 3)",
        ),
    ],
)
def test_what_goes_wrong_on_a_rank_names_the_rank(target: str, trouble: Trouble, text: str) -> None:
    given = inputs("f32/11x4x3/plain/seed=1")
    assert raised(ranks(f"{TARGETS}{target}", 5.0).forward(given)) == (trouble, text)


def test_a_rank_that_raises_while_the_others_wait_is_to_blame() -> None:
    executor = ranks(f"{TARGETS}skips_an_empty_shard", 30.0)
    started = time.monotonic()
    trouble, text = raised(executor.forward(inputs()))
    assert trouble is Trouble.HUNG
    assert text == (
        "never returned on rank 1 and rank 2: rank 0, which they wait for, raised ValueError: "
        "x is empty, but must have a sample"
    )
    assert time.monotonic() - started < 25.0
    # New ranks are there at once.
    assert ranks(HONEST).forward(inputs()).raised is None


def test_sessions_threads_and_layouts_are_refused_in_words() -> None:
    executor = ranks(HONEST)
    trouble, text = raised(executor.session(inputs(), Way()).run())
    assert (trouble, text) == (
        Trouble.REFUSED,
        "sync_batch_norm runs in other processes: nothing of a call stays here",
    )
    _, text = raised(executor.call(inputs(), Way(arranged=(("x", "strided"),))))
    assert text == "on ranks tensors lie in memory as the case says"
    executor.adapter = load(f"{TARGETS}prints", OP, Policy())
    _, text = raised(executor.forward(inputs()))
    assert text == "sync_batch_norm runs in other processes, which know the plain target only"


def test_a_module_on_the_cpu_refuses_in_its_own_words() -> None:
    _, text = raised(ranks("torch.nn:SyncBatchNorm").forward(inputs()))
    assert "SyncBatchNorm expected input tensor to be on" in text


def test_a_function_that_cannot_be_imported_elsewhere_is_a_target_error() -> None:
    def local(x, running_mean, running_var, weight, bias, training, momentum, eps):  # type: ignore[no-untyped-def]
        return x

    policy = Policy()
    adapter = adapt(local, "tests:local.<locals>", OP, policy)
    with pytest.raises(TargetError, match="processes of its own, where it cannot be loaded"):
        Ranks(adapter, CPU, policy, Watchdog(60.0)).forward(inputs())


def test_the_ranks_are_started_once() -> None:
    first = [process.pid for process in pool(WORLD).processes]
    ranks(HONEST).forward(inputs())
    assert [process.pid for process in pool(WORLD).processes] == first


SCRIPT = """
from normcheck.execution.rank_pool import pool
import time
print(*(p.pid for p in pool(3).processes), flush=True)
time.sleep(600)
"""


def test_ranks_end_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(pids) == WORLD
    deadline = time.monotonic() + 30.0
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except (OSError, FileNotFoundError):
        return False
