"""Parameters of another dtype than x are read as what they are, or refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import formula_of
from normcheck.execution.observation import Observation
from normcheck.execution.way import Way
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "MixedDtypes"]

_OTHERS = {
    torch.float16: (torch.float32,),
    torch.bfloat16: (torch.float32,),
    torch.float32: (torch.bfloat16, torch.float16),
}
_KINDS = (("weight", "bias"), ("weight",), ("running_mean", "running_var"), ("residual",))

_FINE = 1.0 + 2.0**-10 + 2.0**-14


class MixedDtypes(Property):
    """Weight and bias, buffers and residual in every other dtype."""

    name = "mixed_dtypes"
    local = True
    explanation = Explanation(
        claim="With weight and bias, running statistics or the residual in another dtype than x, "
        "the answer is right for the values as they are, or the call is refused.",
        why="A kernel chosen by the dtype of x that binds the parameters raw reads their bits as "
        "another format: garbage of any size, on a combination that mixed-precision training "
        "produces every day.",
        bound="The budgets of forward_accuracy and gradients. The output has the dtype of x, the "
        "promoted one or that of the weight; a gradient that of its argument. Weight and bias may "
        "be rounded to the dtype of x first, as half-precision models do, and a factor 1 + weight "
        "to that of the weight. float64 is not mixed.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/190054 (float32 bits read as float16)",
            "https://github.com/openxla/xla/pull/10875 (bfloat16 scale passed as float32)",
            "https://github.com/sgl-project/sglang/issues/32807 (NaN for a float32 weight)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case in other dtypes."""
        if not applies(trial, elements=4096, every=3) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        dtype = trial.inputs.tensors["x"].dtype
        mixtures = list(_mixtures(trial.inputs))
        for words, mixed, other in mixtures:
            # A sum with a residual of another format is rounded in more ways than one.
            way = Way(gradients=bool(trial.backward.gradients) and "residual" not in words)
            observed = trial.call(way, mixed)
            allowed = {torch.promote_types(dtype, other), *_narrower(words, other)}
            # Another kernel, maybe, than that of one dtype: it rounds where it likes.
            probes.choice = RoundingChoice()
            if any(
                _right_for(trial, observed, reading, allowed)
                for reading in _readings(trial, mixed, other)
            ):
                probes.held += 1
            else:
                call = SpecialCall(mixed, way)
                probes.hold(words, _told(observed, dtype), mixed, dtypes=allowed, call=call)
            for name, gradient in observed.gradients.items():
                wanted = mixed.tensors[name].dtype
                if gradient.dtype != wanted:
                    text = f"dtype is {gradient.dtype}, but {name} has {wanted}, {words}"
                    probes.fail(f"grad_{name}", text)
        return probes.outcome() if mixtures else Outcome(Status.INAPPLICABLE)


def _narrower(words: str, other: torch.dtype) -> tuple[torch.dtype, ...]:
    """The dtype of the weight, to which T5 converts what it has normalised."""
    return (other,) if words.startswith("with weight") else ()


def _told(observed: Observation, dtype: torch.dtype) -> Observation:
    """Leave gradients out that came back through an output narrower than x."""
    y = observed.outputs.get("y")
    narrower = y is not None and FloatFormat.of(y.dtype).precision < FloatFormat.of(dtype).precision
    return replace(observed, gradients={}) if narrower else observed


def _readings(trial: Trial, mixed: Inputs, other: torch.dtype) -> Iterator[Inputs]:
    """What weight and bias may be read as, besides what they are.

    Half-precision models round float32 parameters to the dtype of x: the caller's loss, and no
    garbage. A modulation 1 + weight is written in the weight's own dtype, and rounded to it.
    """
    dtype, tensors = mixed.tensors["x"].dtype, mixed.tensors
    rounded = {n: t.to(dtype) if n in ("weight", "bias") else t for n, t in tensors.items()}
    if any(t.dtype != tensors[n].dtype for n, t in rounded.items()):
        yield mixed.with_tensors(rounded)
    offset, weight = formula_of(mixed, trial.policy).weight_offset, tensors.get("weight")
    if offset and weight is not None and weight.dtype == other:
        # Exact: the offset is taken off again in a wider format.
        factor = (weight + offset).float() - offset
        yield mixed.with_tensors({**tensors, "weight": factor})


def _right_for(
    trial: Trial, observed: Observation, reading: Inputs, allowed: Collection[torch.dtype]
) -> bool:
    """Whether an answer is right for parameters as they are read."""
    probes = Probes(trial, RoundingChoice())
    # The gradients come back through the same rounding.
    gradients = {
        n: g.to(reading.tensors[n].dtype) if g.dtype == torch.float32 else g
        for n, g in observed.gradients.items()
    }
    told = _told(replace(observed, gradients=gradients), reading.tensors["x"].dtype)
    probes.hold("", told, reading, dtypes=allowed)
    return probes.finding is None and probes.held > 0


def _mixtures(inputs: Inputs) -> Iterator[tuple[str, Inputs, torch.dtype]]:
    """Each kind of tensor in each other format."""
    own = inputs.tensors["x"].dtype
    for dtype in _OTHERS.get(own, ()):
        for kind in _KINDS:
            names = [name for name in kind if name in inputs.tensors]
            if len(names) < len(kind) or (kind == ("residual",) and dtype != torch.float32):
                continue
            # Values that a narrower format cannot hold: rounding them to it must show.
            changed = {n: (inputs.tensors[n].double() * _FINE).to(dtype) for n in names}
            if all(bool(tensor.isfinite().all()) for tensor in changed.values()):
                words = f"with {' and '.join(names)} in {str(dtype).removeprefix('torch.')}"
                yield words, inputs.with_tensors({**inputs.tensors, **changed}), dtype


PROPERTY = MixedDtypes()
