"""Parameters of another dtype than x are read as what they are, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.observation import Observation
from normcheck.execution.way import Way
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
        bound="The budgets of forward_accuracy and gradients. The output has the dtype of x or the "
        "promoted one; a gradient that of its argument. Weight and bias may be rounded to the "
        "dtype of x first, as half-precision models do. float64 is not mixed.",
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
            allowed = {torch.promote_types(dtype, other)}
            if not _as_narrowed(trial, observed, mixed, allowed):
                call = SpecialCall(mixed, way)
                probes.hold(words, observed, mixed, dtypes=allowed, call=call)
            else:
                probes.held += 1
            for name, gradient in observed.gradients.items():
                wanted = mixed.tensors[name].dtype
                if gradient.dtype != wanted:
                    text = f"dtype is {gradient.dtype}, but {name} has {wanted}, {words}"
                    probes.fail(f"grad_{name}", text)
        return probes.outcome() if mixtures else Outcome(Status.INAPPLICABLE)


def _as_narrowed(
    trial: Trial, observed: Observation, mixed: Inputs, allowed: set[torch.dtype]
) -> bool:
    """Whether the answer is right for weight and bias rounded to the dtype of x.

    Half-precision models read float32 parameters that way; their rounding is the caller's loss, and
    no garbage.
    """
    dtype = mixed.tensors["x"].dtype

    def narrowed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: t.to(dtype) if n in ("weight", "bias") else t for n, t in tensors.items()}

    if all(t.dtype == mixed.tensors[n].dtype for n, t in narrowed(mixed.tensors).items()):
        return False
    probes = Probes(trial)
    # Their gradients come back through the same rounding.
    rounded = replace(observed, gradients=narrowed(observed.gradients))
    probes.hold("", rounded, mixed.with_tensors(narrowed(mixed.tensors)), dtypes=allowed)
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
