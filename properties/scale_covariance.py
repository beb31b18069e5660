"""Scaling x by a power of two, and eps along with it, gives the same output."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import formula_of
from normcheck.execution.way import Way
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reduction import EpsPlace
from normcheck.properties.other_inputs import mapped
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "ScaleCovariance"]

_POWERS = (-9, -4, 3, 8)


class ScaleCovariance(Property):
    """f(a x; a^2 eps) = f(x; eps) for a power of two a, and f(-x) = -f(x) without bias."""

    name = "scale_covariance"
    explanation = Explanation(
        claim="With x scaled by a power of two, and eps by its square (by itself where it is added "
        "outside the root or is a floor), the output is the same.",
        why="A clipped outlier, a variance with a floor of its own, an eps that is clamped or that "
        "a pre-scaling forgets, and any constant in the kernel break it.",
        bound="The budget of forward_accuracy for the scaled inputs; scaling by a power of two is "
        "exact, so no tolerance is added. Values that would leave the format are left out.",
        bugs=(
            "https://github.com/apple/coremltools/pull/2822 (pre-scaled without scaling eps)",
            "https://github.com/pytorch/pytorch/issues/190491 (variance below 1e-6 set to 0)",
            "https://github.com/tensorflow/tensorflow/issues/37768 (eps raised to a minimum)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case at other scales."""
        # silu(a z) is no multiple of silu(z), and padding has no scale.
        if not is_finite(trial) or {"z", "mask"} & set(trial.inputs.tensors):
            return Outcome(Status.INAPPLICABLE)
        if not applies(trial, elements=1 << 13, every=3):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        inputs = trial.inputs
        takes_eps = "eps" not in trial.adapter.binding.missing
        probes = Probes(trial)
        for power in _POWERS:
            eps = _scaled_eps(trial, power)
            if (eps != inputs.eps and not takes_eps) or not _exact(inputs, power):
                continue
            scaled = replace(_scaled(inputs, 2.0**power), eps=eps)
            words = f"with x scaled by 2^{power} and eps = {eps:g}"
            probes.ask(words, Way(), scaled, base=trial.forward)
        probes.ask("with the sign of x changed", Way(), _scaled(inputs, -1.0))
        return probes.outcome()


def _scaled_eps(trial: Trial, power: int) -> float:
    inside = formula_of(trial.inputs, trial.policy).eps_place is EpsPlace.INSIDE
    return math.ldexp(trial.inputs.eps, 2 * power if inside else power)


def _scaled(inputs: Inputs, factor: float) -> Inputs:
    def times(tensor: Tensor) -> Tensor:
        return tensor * factor

    scaled = mapped(inputs, times)
    if "running_mean" not in inputs.tensors or inputs.case.mode == "train":
        return scaled
    buffers = {
        "running_mean": inputs.tensors["running_mean"] * factor,
        "running_var": inputs.tensors["running_var"] * factor**2,
    }
    return replace(scaled, tensors={**scaled.tensors, **buffers})


def _exact(inputs: Inputs, power: int) -> bool:
    """Whether scaling loses no bit, and leaves room for squares."""
    fmt = FloatFormat.of(inputs.tensors["x"].dtype)
    names = ("x", "residual", *(("running_mean",) if inputs.case.mode == "eval" else ()))
    for name in names:
        if name not in inputs.tensors:
            continue
        size = inputs.tensors[name].double().abs()
        used = size[size > 0] * 2.0**power
        if used.numel() and (used.max() > fmt.largest / 8 or used.min() < 4 * fmt.smallest_normal):
            return False
    return True


PROPERTY = ScaleCovariance()
