"""Weaker arithmetic: tried last, because wide budgets explain much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from normcheck.cases.pose import observed_of, pose
from normcheck.diagnosis.experiments import probe, probes
from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.numerics.problem import Problem
from normcheck.ops.op import Family
from normcheck.properties.trial import Trial

__all__ = ["arithmetic"]

Change = Callable[[Problem], Problem]
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class _Weaker:
    kind: str
    text: str
    change: Change


def _formula(**changes: object) -> Change:
    return lambda p: replace(p, formula=replace(p.formula, **changes))  # type: ignore[arg-type]


def _kept_in(dtype: torch.dtype) -> Change:
    return lambda p: replace(p, arithmetic=FloatFormat.of(dtype))


def _offered(trial: Trial, tensor: str, change: Change) -> list[Comparison]:
    observation = trial.backward if tensor.startswith("grad_") else trial.forward
    if not trial.well_formed(observation):
        return []
    state = observation.state if trial.inputs.case.mode == "train" else {}
    observed = observed_of(trial.inputs, observation.outputs, observation.gradients, state)
    found = judge(change(pose(trial.inputs, trial.policy)), observed).get(tensor, {})
    return [c for name, c in found.items() if "cast" not in name]


def _fits(trial: Trial, tensor: str, change: Change) -> bool | None:
    """Whether a tensor is within a budget; None where that budget can judge nothing."""
    found = _offered(trial, tensor, change)
    if not found or all(not c.judged for c in found):
        return None
    return any(c.judged and c.ratio <= 1.0 for c in found)


def _plainly_right(trial: Trial, tensor: str) -> bool:
    return _fits(trial, tensor, lambda p: p) is not False


def arithmetic(small: Trial, whole: Trial, tensor: str, made: Callable[[str, str], D]) -> D:
    """Return the weaker arithmetic that explains both cases and the probes.

    Args:
        small: The smallest case.
        whole: The case in which the failure was found.
        tensor: What is wrong.
        made: Makes a diagnosis of text and class.
    """
    others = list(probes(whole))
    for weaker in _candidates(small, whole, tensor):
        first = _fits(small, tensor, weaker.change)
        second = None if first is False else _fits(whole, tensor, weaker.change)
        if first is False or second is False or (first, second) == (None, None):
            continue
        if any(_fits(t, tensor, weaker.change) is False for t in others):
            continue
        return made(weaker.text, weaker.kind)
    return made("", "")


def _candidates(small: Trial, whole: Trial, tensor: str) -> Iterator[_Weaker]:
    dtype = whole.inputs.tensors["x"].dtype
    if tensor == "y" and whole.inputs.reduction.centred and _cancels(whole):
        yield _Weaker("K01", "cancellation in a one-pass variance, E[x\u00b2] \u2212 E[x]\u00b2",
                      _formula(one_pass=True))  # fmt: skip
    if _repeats(small) or _repeats(whole):
        yield _Weaker("", "one long chain of additions; declare --policy summation=serial if it is "
                      "meant", _formula(serial=True))  # fmt: skip
    if dtype == torch.float64:
        text = "sums or statistics are kept in float32; declare --policy accumulation=float32 if "
        yield _Weaker("K08", text + "it is meant", _kept_in(torch.float32))
    kind = "K26" if tensor in ("grad_weight", "grad_bias") else "K08"
    # On wider input the budget of a half format explains nearly anything.
    for half in [dtype] if dtype.itemsize == 2 else []:
        name = str(half).removeprefix("torch.")
        if tensor == "y" and half == torch.float16 and _overflows(whole):
            kind = "K02"
        text = f"sums or statistics are kept in {name}"
        yield _Weaker(kind, text, _kept_in(half))


def _cancels(trial: Trial) -> bool:
    """Whether the target is right where mean/std is 3, and wrong where it is 1000."""
    own = trial.inputs.case
    channels = trial.inputs.op.family is Family.CHANNELS
    shape = (
        (4, own.shape[1], *[8] * (len(own.shape) - 2))
        if channels
        else ((*[1] * (len(own.shape) - 2), 8, 64)[-len(own.shape) :])
    )
    if trial.inputs.tensors["x"].dtype not in (torch.float32, torch.float64):
        return True
    right = probe(trial, own.changed(shape=shape, regime="offset3", eps=None))
    wide = trial.inputs.tensors["x"].dtype == torch.float64
    far = own.changed(shape=shape, regime="offset1e6" if wide else "offset1e3", eps=None)
    wrong = probe(trial, far)
    if right is None or wrong is None or not _plainly_right(right, "y"):
        return False
    if _fits(wrong, "y", _formula(one_pass=True)) is False:
        return bool((~wrong.forward.outputs["y"].isfinite()).any())
    return not _plainly_right(wrong, "y")


def _overflows(trial: Trial) -> bool:
    """Whether rows of ordinary shape, but of size 4000, come out zero or not finite."""
    own = trial.inputs.case
    channels = trial.inputs.op.family is Family.CHANNELS
    shape = (
        (4, own.shape[1], *[8] * (len(own.shape) - 2))
        if channels
        else ((*[1] * (len(own.shape) - 2), 8, 64)[-len(own.shape) :])
    )
    large = probe(trial, own.changed(shape=shape, regime="scale4e3", eps=None, weight="none",
                                     bias="none"))  # fmt: skip
    if large is None or not large.well_formed(large.forward):
        return False
    y = large.forward.outputs["y"]
    lost = (y == 0) | ~y.isfinite()
    return bool(lost.float().mean() > 0.5)


def _repeats(trial: Trial) -> bool:
    """Whether some slice repeats one value: only there does a serial sum exceed a blocked one.

    Rounding errors of equal terms have equal signs; those of random terms cancel. Where every slice
    is the same ramp, the terms of a parameter gradient are equal.
    """
    if trial.inputs.case.regime in ("ramp", "edge"):
        return True
    reduction = trial.inputs.reduction
    kept = [axis for axis in range(len(reduction.view)) if axis not in reduction.over]
    x = trial.inputs.tensors["x"].reshape(reduction.view).permute(*kept, *reduction.over)
    rows = x.reshape(-1, max(reduction.count, 1)).float()
    middle = rows.median(-1, keepdim=True).values
    near = (rows - middle).abs() <= 1e-6 * rows.abs().amax(-1, keepdim=True)
    return bool((near.float().mean(-1) >= 0.5).any())
