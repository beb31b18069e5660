"""What a diagnosis asks of the target beyond the failing case: other cases, and the same again."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from normcheck.cases.case import Case
from normcheck.cases.materialise import materialise
from normcheck.diagnosis.scene import Scene
from normcheck.errors import UsageError
from normcheck.execution.in_process import same_bits
from normcheck.execution.way import Way
from normcheck.numerics.reduction import EpsPlace
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.ops.op import Family
from normcheck.properties.trial import Trial

__all__ = ["changes_between_runs", "is_stale", "is_unscaled", "probe", "probes"]


# Of scales that are not taken for each other: the fit of one is off by percents where x is offset.
_APART = 0.1


def _sized(case: Case, rows: int, columns: int, *, channels: bool) -> tuple[int, ...]:
    """As many dimensions as the case has, with a few odd sizes."""
    rank = len(case.shape)
    if channels:
        count = case.groups * 3 if case.groups > 1 else min(case.shape[1], 6)
        return (rows, count, columns, *[1] * rank)[:rank]
    return (*[1] * (rank - 2), rows, columns)[-rank:]


def probe(trial: Trial, case: Case) -> Trial | None:
    """Ask for another case; None where the op or the target has no answer."""
    try:
        fitted = trial.adapter.conform(case)
        inputs = materialise(fitted)
    except UsageError:
        return None
    return Trial(inputs, trial._executor, trial.policy, RoundingChoice())


def probes(trial: Trial) -> Iterator[Trial]:
    """Yield a few ordinary cases, whose sizes and eps differ from the failing ones."""
    own = trial.inputs.case
    channels = trial.inputs.op.family is Family.CHANNELS
    # Where eps is a floor it shows only above the norm.
    heavy = 100.0 if trial.inputs.op.eps_place is EpsPlace.FLOOR else 0.01
    for rows, columns, regime, eps in (
        (5, 37, "plain", None), (6, 48, "offset3", heavy), (5, 96, "vareps1", 1e-4),
        (3, 1300, "plain", None),
    ):  # fmt: skip
        shape = _sized(own, rows, columns, channels=channels)
        case = own.changed(shape=shape, regime=regime, eps=eps, seed=own.seed + 7)
        found = probe(trial, case)
        if found is not None:
            yield found


def is_stale(trial: Trial, scene: Scene) -> bool:
    """Whether the scale of the output does not follow the input's when x is doubled."""
    if scene.fixed is not None or not bool(scene.honest.outside.any()):
        return False
    inputs = trial.inputs
    tensors = dict(inputs.tensors)
    for name in ("x", "residual"):
        if name in tensors:
            tensors[name] = tensors[name] * 2
    doubled = inputs.with_tensors(tensors)
    observation = trial.call(Way(), doubled)
    if not trial.well_formed(observation):
        return False
    other = Scene(doubled, trial.policy, observation)
    first, second = scene.implied[0], other.implied[0]
    expected = other.exact.root / scene.exact.root
    moved = scene.rows(expected.expand(scene.x.shape))[:, 0] < 0.75
    heard = moved & first.isfinite() & second.isfinite() & (first != 0)
    if int(heard.sum()) < 1:
        return False
    u = scene.input_format.unit_roundoff
    return bool(((second / first - 1).abs()[heard] < 64 * u).all())


def is_unscaled(scene: Scene) -> bool:
    """Whether the output is x as it was, or less its mean: a scale of 1, where it should not be."""
    scale = scene.implied[0]
    root = scene.rows(scene.exact.root.expand(scene.x.shape))[:, 0]
    known = scale.isfinite() & (scale != 0) & ((root - 1).abs() > _APART)
    return bool(known.any()) and bool(((scale - 1).abs()[known] < _APART / 10).all())


def changes_between_runs(trial: Trial) -> tuple[str, str] | None:
    """Run a few times more: class and words where equal inputs give unequal results."""
    gradients = bool(trial.backward.gradients)
    base = trial.backward if gradients else trial.forward
    for _ in range(3):
        again = trial.call(Way(gradients=gradients))
        for kind, before, after in (
            ("", base.outputs, again.outputs), ("grad_", base.gradients, again.gradients)
        ):  # fmt: skip
            for name, tensor in before.items():
                other = after.get(name)
                if other is None or other.shape != tensor.shape or same_bits(tensor, other):
                    continue
                return _changing(trial, kind + name, tensor, other)
    return None


def _changing(
    trial: Trial, tensor: str, before: torch.Tensor, after: torch.Tensor
) -> tuple[str, str]:
    """Tell an order of summation from a race, and both from a sum that is never cleared."""
    first, second = before.double(), after.double()
    ratios = [
        min((c.ratio for c in offered.values()), default=0.0)
        for name, offered in trial.comparisons.items()
        if name == tensor
    ]
    size = first.abs().max().clamp_min(1e-300)
    far = float(((first - second).abs() / size).nan_to_num(nan=1.0).max())
    u = torch.finfo(before.dtype).eps
    if tensor.startswith("grad_") and far > 64 * u:
        third = trial.call(Way(gradients=True)).gradients.get(tensor.removeprefix("grad_"))
        if third is not None and third.shape == second.shape:
            step, next_step = second - first, third.double() - second
            # What is added to a sum that is never cleared is the same at every call.
            if float((next_step - step).norm()) <= 1e-3 * float(step.norm()):
                return "K30", f"{tensor} adds up over calls"
    if far <= 64 * u and max(ratios, default=0.0) < 1e6:
        return "K39", "the order of summation changes from call to call"
    return "K23", "results change from call to call by more than rounding: a race"
