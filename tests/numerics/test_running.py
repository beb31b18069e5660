"""normcheck.numerics.running against exact rationals."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Observed, Problem, RunningUpdate
from normcheck.numerics.reduction import Formula, Reduction

SAMPLES, CHANNELS, SPACE = 3, 2, 5
BATCH = Reduction((SAMPLES, CHANNELS, SPACE), (0, 2), (1, CHANNELS, 1), centred=True)
INSTANCE = Reduction((SAMPLES, CHANNELS, SPACE), (2,), (1, CHANNELS, 1), centred=True)

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
reductions = pytest.mark.parametrize("reduction", [BATCH, INSTANCE], ids=["batch", "instance"])


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def moments(values: list[float], *, biased: bool) -> tuple[Fraction, Fraction]:
    exact = [Fraction(v) for v in values]
    mean = sum(exact, Fraction(0)) / len(exact)
    squares = sum(((v - mean) ** 2 for v in exact), Fraction(0))
    return mean, squares / (len(exact) if biased else len(exact) - 1)


def updated(problem: Problem, channel: int) -> tuple[float, float]:
    """Return the exact buffers of one channel after the step, rounded once to float64."""
    update = problem.running
    assert update is not None
    part = problem.x[:, channel]
    slices = [part.flatten().tolist()] if problem.reduction is BATCH else part.tolist()
    found = [moments(values, biased=update.biased) for values in slices]
    momentum, new = Fraction(update.momentum), []
    for i, buffer in enumerate((update.mean, update.variance)):
        old = Fraction(buffer[0, channel, 0].item())
        average = sum((m[i] for m in found), Fraction(0)) / len(found)
        new.append(float((1 - momentum) * old + momentum * average))
    return new[0], new[1]


def posed(
    reduction: Reduction, dtype: torch.dtype, *, momentum: float = 0.1, biased: bool = False
) -> Problem:
    x = noise(reduction.view, 1, dtype) + 3.0
    mean, variance = noise(reduction.affine, 2, dtype), noise(reduction.affine, 3, dtype).abs()
    running = RunningUpdate(mean, variance, momentum, biased)
    return Problem(reduction, Formula(1e-5), x, FloatFormat.of(dtype), running=running)


def state_of(problem: Problem) -> dict[str, Tensor]:
    pairs = torch.tensor([updated(problem, c) for c in range(CHANNELS)], dtype=torch.float64)
    shape, dtype = problem.reduction.affine, problem.x.dtype
    names = ("running_mean", "running_var")
    return {name: pairs[:, i].reshape(shape).to(dtype) for i, name in enumerate(names)}


def verdicts(problem: Problem, state: dict[str, Tensor]) -> dict[str, Comparison]:
    return {
        name: policies["fused"]
        for name, policies in judge(problem, Observed({}, state=state)).items()
    }


@dtypes
@reductions
@pytest.mark.parametrize("biased", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0], ids=str)
def test_the_rounded_exact_update_is_accepted(
    reduction: Reduction, dtype: torch.dtype, biased: bool, momentum: float
) -> None:
    problem = posed(reduction, dtype, momentum=momentum, biased=biased)
    for name, found in verdicts(problem, state_of(problem)).items():
        assert found.judged == CHANNELS
        assert found.ratio <= 1.0, name


@dtypes
@reductions
def test_the_reference_is_the_exact_update(reduction: Reduction, dtype: torch.dtype) -> None:
    problem = posed(reduction, dtype)
    for i, found in enumerate(verdicts(problem, state_of(problem)).values()):
        assert found.worst is not None
        exact = updated(problem, found.worst.index[1])[i]
        # 0.9 is 1 - 0.1 rounded to float64, and the last addition is rounded.
        assert abs(found.worst.reference - exact) <= 2.0**-51 * abs(exact)


@dtypes
@reductions
@pytest.mark.parametrize("momentum", [0.1, 0.5], ids=str)
def test_the_budget_holds_a_few_roundoffs_and_no_more(
    reduction: Reduction, dtype: torch.dtype, momentum: float
) -> None:
    problem = posed(reduction, dtype, momentum=momentum)
    u = FloatFormat.of(dtype).unit_roundoff
    for factor, accepted in ((1 + 4 * u, True), (1 + 2**10 * u, False)):
        state = {name: (t.double() * factor).to(dtype) for name, t in state_of(problem).items()}
        for found in verdicts(problem, state).values():
            assert (found.violations == 0) == accepted


@dtypes
@reductions
def test_the_other_divisor_is_refused(reduction: Reduction, dtype: torch.dtype) -> None:
    problem, other = posed(reduction, dtype), posed(reduction, dtype, biased=True)
    found = verdicts(problem, state_of(other))
    assert found["running_mean"].ratio <= 1.0
    assert found["running_var"].violations == CHANNELS


@dtypes
@reductions
def test_momentum_of_the_old_value_is_refused(reduction: Reduction, dtype: torch.dtype) -> None:
    problem, other = posed(reduction, dtype), posed(reduction, dtype, momentum=0.9)
    for found in verdicts(problem, state_of(other)).values():
        assert found.violations == CHANNELS


@pytest.mark.parametrize("reduction", [BATCH], ids=["batch"])
@dtypes
def test_torch_updates_its_buffers_within_budget(reduction: Reduction, dtype: torch.dtype) -> None:
    problem = posed(reduction, dtype)
    update = problem.running
    assert update is not None
    mean, variance = update.mean.flatten().clone(), update.variance.flatten().clone()
    torch.nn.functional.batch_norm(problem.x, mean, variance, training=True, momentum=0.1)
    shape = reduction.affine
    state = {"running_mean": mean.reshape(shape), "running_var": variance.reshape(shape)}
    for name, found in verdicts(problem, state).items():
        assert found.ratio <= 1.0, name


def test_one_value_per_channel_keeps_the_divisor_at_one() -> None:
    reduction = Reduction((1, CHANNELS, 1), (0, 2), (1, CHANNELS, 1), centred=True)
    x = noise(reduction.view, 1, torch.float32)
    running = RunningUpdate(torch.zeros(1, CHANNELS, 1), torch.ones(1, CHANNELS, 1), 0.1)
    problem = Problem(reduction, Formula(1e-5), x, FloatFormat.of(x.dtype), running=running)
    state = {"running_mean": 0.1 * x, "running_var": torch.full((1, CHANNELS, 1), 0.9)}
    for found in verdicts(problem, state).values():
        assert (found.judged, found.violations) == (CHANNELS, 0)


def test_a_nan_in_a_buffer_is_a_violation() -> None:
    problem = posed(BATCH, torch.float32)
    state = state_of(problem)
    state["running_var"][0, 1, 0] = float("nan")
    found = verdicts(problem, state)
    assert found["running_mean"].violations == 0
    assert found["running_var"].violations == 1


def test_buffers_that_were_not_observed_are_not_judged() -> None:
    problem = posed(BATCH, torch.float32)
    assert set(verdicts(problem, {"running_mean": state_of(problem)["running_mean"]})) == {
        "running_mean"
    }
