import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.execution.in_process import InProcess
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way, poisoned_allocator
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.target import adapt

CASE = Case.parse("nc1:rms_norm/f32/3x8/plain")


def executor_of(function: object) -> InProcess:
    adapter = adapt(function, "here:rms_norm", catalogue.find("rms_norm"), Policy())
    return InProcess(adapter, torch.device("cpu"), Policy(), Watchdog(10.0))


def doubled(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return 2 * x


def test_other_values_are_written_in_place() -> None:
    addresses = []

    def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        addresses.append(x.data_ptr())
        return 2 * x

    session = executor_of(rms_norm).session(materialise(CASE), Way())
    other = materialise(CASE.changed(seed=1))
    session.run()
    session.load(other)
    observed = session.run()
    assert addresses[0] == addresses[1]
    assert torch.equal(observed.outputs["y"], 2 * other.tensors["x"])
    assert observed.mutated == ()


def test_backward_can_wait_for_another_call() -> None:
    executor = executor_of(doubled)
    inputs = materialise(CASE)
    first = executor.session(inputs, Way(gradients=True))
    forward = first.forward()
    executor.backward(materialise(CASE.changed(seed=1)))
    gradients = first.backward().gradients
    assert forward.gradients == {}
    assert torch.equal(gradients["x"], 2 * inputs.dy["y"])


def test_only_what_is_wanted_requires_a_gradient() -> None:
    seen = []

    def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        seen.append((x.requires_grad, weight.requires_grad))
        return x * weight

    way = Way(gradients=True, wanted=("weight",))
    observed = executor_of(rms_norm).call(materialise(CASE), way)
    assert seen == [(False, True)]
    assert set(observed.gradients) == {"weight"}


def test_paths_are_those_of_torch() -> None:
    seen = []

    def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        seen.append(
            (
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled("cpu"),
            )
        )
        return x * 1

    executor = executor_of(rms_norm)
    for way in (Way(), Way(gradients=True), Way(inference=True), Way(autocast="bfloat16")):
        executor.call(materialise(CASE), way)
    assert seen == [
        (False, False, False), (True, False, False), (False, True, False), (False, False, True)
    ]  # fmt: skip


def test_uninitialised_memory_is_poisoned_and_the_mode_restored() -> None:
    with poisoned_allocator():
        assert bool(torch.empty(64).isnan().all())
    assert not torch.are_deterministic_algorithms_enabled()


def test_memory_beside_an_argument_is_watched() -> None:
    def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        y = x * 1
        wide = x.as_strided((1,), (1,), x.storage_offset() + x.numel() + 8 * x.shape[0])
        wide.fill_(1.0)
        return y

    way = Way(arranged=(("x", "embedded"),))
    assert executor_of(rms_norm).call(materialise(CASE), way).trespassed == ("x",)
