"""Empty, degenerate and invalid arguments: right, or refused, and never a dead process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import formula_of, pose
from normcheck.errors import UsageError
from normcheck.execution.forked import Ending, forked, unavailable
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.transformed import framework_name, takes_parameters
from normcheck.execution.watchdog import Watchdog
from normcheck.execution.way import Way
from normcheck.numerics.reduction import EpsPlace
from normcheck.numerics.reference import normalise
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops.op import Family
from normcheck.properties.probing import applies
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "DegenerateArguments"]

_BUFFERS = ("running_mean", "running_var")
_BEGIN, _HELD, _REFUSED, _FAULT = "begin", "held", "refused", "fault"


class DegenerateArguments(Property):
    """Many calls in one forked child, each of which may kill it."""

    name = "degenerate_arguments"
    local = True
    heavy = True
    explanation = Explanation(
        claim="Zero rows, zero columns, one element, one value per channel, eps 0 or negative, 0 "
        "groups or ones that do not divide the channels, running statistics that are empty, too "
        "short or missing: the result is right or a Python exception, with and without gradients.",
        why="A division by a number of groups or a read beyond a buffer ends the whole process, "
        "and what was computed before is lost; a result for arguments without a meaning is worse.",
        bound="Budgets where there are values (float32 and float64); an empty result has the shape "
        "of x, and parameter gradients over nothing are exactly zero. A negative eps may be "
        "refused; else the formula decides: NaN or infinite where var + eps is negative, and "
        "otherwise its value; a negative floor is not tried. Calls are made in a forked child on "
        "one thread; JAX targets and accelerators are not judged.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/73194 (num_groups=0 divides by zero)",
            "https://github.com/pytorch/pytorch/issues/141203 (evaluation without statistics)",
            "https://github.com/pytorch/pytorch/issues/169208 (running_var of another length)",
            "https://github.com/tensorflow/tensorflow/issues/46366 (empty input)",
            "https://github.com/ml-explore/mlx/pull/4312 (negative eps)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the degenerate relatives of one case."""
        chosen = (applies(trial, elements=8192, every=16, offset=seed) for seed in (4, 10))
        if not any(chosen) or trial.inputs.op.parts or trial.inputs.case.regime == "bad":
            return Outcome(Status.INAPPLICABLE)
        executor = trial.session(Way()).executor
        reason = unavailable(trial.device_type, executor.bystanders)
        if framework_name(trial.adapter) == "jax":
            reason = "XLA starts threads, and a process with threads cannot be forked safely"
        if reason:
            return Outcome(Status.UNSUPPORTED, reason=reason)
        limit_s = executor.watchdog.limit_s
        child = _Child(trial, limit_s)
        # The child's own limit comes first, unless the interpreter never gets to see it.
        return _outcome(forked(child.work, 2 * limit_s + 5.0))


@dataclass(frozen=True, slots=True)
class _Probe:
    """One call.

    Attributes:
        words: What is special about it.
        inputs: With what it is made.
        meaning: Whether any values could be right.
    """

    words: str
    inputs: Inputs
    meaning: bool = True


def _outcome(ending: Ending) -> Outcome:
    """Turn what a child told into an answer."""
    told = [json.loads(line) for line in ending.told if line.startswith("[")]
    faults = [entry[1:] for entry in told if entry[0] == _FAULT]
    begun = [entry[1] for entry in told if entry[0] == _BEGIN]
    if faults:
        return Outcome(Status.VIOLATED, finding=Finding(faults[0][0], faults[0][1]))
    if not ending.finished:
        where = begun[-1] if begun else "the first call"
        # It is safe to make again: only a child dies of it.
        return Outcome(Status.VIOLATED, finding=Finding("target", f"{where} {ending.how}"))
    if any(entry[0] == _HELD for entry in told):
        return Outcome(Status.HELD)
    refused = next((entry[1] for entry in told if entry[0] == _REFUSED), "")
    return Outcome(Status.UNSUPPORTED, reason=refused)


class _Child:
    """What the child does."""

    def __init__(self, trial: Trial, limit_s: float) -> None:
        self.trial, self.limit_s = trial, limit_s

    def work(self, tell: Callable[[str], None]) -> None:
        """Make every call; stop at the first fault."""
        trial = self.trial
        device = torch.device(trial.device_type)
        # Without threads: no grace period, and nobody outside is told of these cases.
        executor = InProcess(trial.adapter, device, trial.policy, Watchdog(self.limit_s))
        for probe in _probes(trial):
            own = Trial(probe.inputs, executor, trial.policy, RoundingChoice())
            for gradients in (False, True):
                words = f"{probe.words} with gradients" if gradients else probe.words
                tell(json.dumps([_BEGIN, words]))
                observed = executor.call(probe.inputs, Way(gradients=gradients))
                fault = _fault(own, probe, observed)
                if fault is not None:
                    tell(json.dumps([_FAULT, fault.tensor, f"{fault.detail}, {words}"]))
                    return
                raised = observed.raised
                answer = [_HELD] if raised is None else [_REFUSED, f"{words}: {raised.text}"]
                tell(json.dumps(answer))


def _probes(trial: Trial) -> Iterator[_Probe]:
    yield from _shapes(trial)
    base = _smaller(trial, 3, 6)
    if base is None:
        return
    if "eps" in trial.adapter.binding.names:
        # A negative floor is none: some square it. Elsewhere the formula says what it means.
        is_floor = formula_of(base, trial.policy).eps_place is EpsPlace.FLOOR
        for eps in (0.0,) if is_floor else (0.0, -0.01, -1e6):
            yield _Probe(f"eps={eps:g}", replace(base, eps=eps))
    # With a prime number of positions, so that whoever cuts a sample into equal parts, wherever a
    # channel ends, cannot either.
    odd = _smaller(trial, 3, 41)
    if odd is not None and odd.op.parameter("num_groups") is not None:
        base, channels = odd, odd.case.shape[1]
        for groups in (0, -1, *(g for g in (channels - 1, channels + 1) if channels % g)):
            case = replace(base.case, groups=groups)
            yield _Probe(f"groups={groups}", replace(base, case=case), meaning=False)
    if base.op.tracks_statistics:
        yield from _statistics(base, trial)


def _shapes(trial: Trial) -> Iterator[_Probe]:
    """Sizes of zero and one."""
    for rows, columns, words in (
        (0, 6, "zero rows"),
        (3, 0, "zero columns"),
        (0, 0, "zero rows and columns"),
        (1, 1, "one element"),
        (3, 1, "one column"),
    ):
        if columns == 0 and trial.inputs.op.parameter("eps") is None:
            continue  # a norm of nothing is zero, and nothing keeps it from being divided by
        inputs = _smaller(trial, rows, columns)
        if inputs is not None:
            yield _Probe(words, inputs)


def _smaller(trial: Trial, rows: int, columns: int) -> Inputs | None:
    """The case with a few rows (samples) and columns (positions); None where it has no meaning."""
    case = trial.inputs.case
    rank = len(case.shape)
    if trial.inputs.op.family is Family.ROWS:
        shape = (rows, *(1 for _ in range(rank - 2)), columns)[-rank:]
    else:
        channels = 2 * case.groups if case.groups > 1 else min(case.shape[1], 6)
        shape = (rows, channels, *(1 for _ in range(rank - 3)), columns)[:rank]
    layout = "contiguous" if 0 in shape else case.layout
    changed = case.changed(shape=shape, regime="plain", layout=layout, eps=None)
    try:
        return materialise(trial.adapter.conform(changed))
    except UsageError:
        return None


def _statistics(base: Inputs, trial: Trial) -> Iterator[_Probe]:
    """Running statistics of the wrong length, and none where they are needed."""
    adapter, case = trial.adapter, base.case
    # A module owns its buffers: their length is not an argument.
    if not takes_parameters(adapter) or set(_BUFFERS) & set(adapter.binding.missing):
        return
    channels, given = case.shape[1], base
    for mode in ("train", "eval"):
        given = materialise(case.changed(mode=mode, stats="tracked"))
        # A single value, or a single channel, would be repeated by broadcasting, which nobody can
        # tell from its meaning.
        lengths = ([0] if channels > 1 else []) + ([channels - 1] if channels > 2 else [])
        for length in lengths:
            for name in _BUFFERS:
                tensors = {**given.tensors, name: given.tensors[name][:length]}
                words = f"{name} of {length} values for {channels} channels in {mode} mode"
                yield _Probe(words, replace(given, tensors=tensors), meaning=False)
    kept = {n: t for n, t in given.tensors.items() if n not in _BUFFERS}
    yield _Probe("no running statistics in eval mode", replace(given, tensors=kept))


def _fault(own: Trial, probe: _Probe, observed: Observation) -> Finding | None:
    """What is wrong with one answer."""
    raised = observed.raised
    if raised is not None and raised.trouble in (Trouble.HUNG, Trouble.EXITED):
        return Finding("target", f"the target {raised.text}")
    if raised is not None and not observed.outputs:
        return None
    if not probe.meaning:
        return Finding("y", "values came back, but no value has a meaning")
    inputs = probe.inputs
    for name, y in observed.outputs.items():
        if y.shape != inputs.tensors["x"].shape:
            return Finding(name, f"shape is {tuple(y.shape)}, but x has {tuple(inputs.case.shape)}")
    if not own.well_formed(observed):
        return None  # the dtype is the output contract's finding
    if inputs.case.elements == 0:
        return _fault_of_nothing(observed)
    return _fault_of_values(own, inputs, observed)


def _fault_of_nothing(observed: Observation) -> Finding | None:
    for name, gradient in observed.gradients.items():
        if bool((gradient != 0).any()):
            return Finding(f"grad_{name}", "not zero, though it sums over nothing")
    for name, buffer in observed.state.items():
        if not bool(buffer.isfinite().all()):
            return Finding(name, "not finite after an empty batch")
    return None


def _fault_of_values(own: Trial, inputs: Inputs, observed: Observation) -> Finding | None:
    problem = pose(inputs, own.policy)
    x = problem.x.double()
    if problem.residual is not None:
        x = x + problem.residual.double()
    root = normalise(x, problem.reduction, problem.formula).root
    undefined = root.isnan()
    if problem.mask is not None:
        undefined = undefined & problem.mask
    y = observed.outputs["y"].reshape(problem.reduction.view)
    if bool((y.isfinite() & undefined).any()):
        return Finding("y", "finite, but var + eps is negative")
    if bool(undefined.any()):
        return None
    if problem.x.dtype.itemsize < 4:
        return None  # where half precision rounds on the way is for other properties to judge
    for tensor, offered in own.judge(observed).items():
        policy, found = own.choice.choose(tensor, offered)
        if found.ratio > 1.0 and found.worst is not None:
            value = f"{found.worst.computed:.6g}, but should be {found.worst.reference:.6g}"
            return Finding(tensor, value, found.worst, policy)
    return None


PROPERTY = DegenerateArguments()
