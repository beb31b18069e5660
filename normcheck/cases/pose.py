"""From a case's inputs and the declared policies to the problem that the judge solves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.problem import Observed, Problem, RunningUpdate
from normcheck.numerics.reduction import EpsPlace, Formula
from normcheck.policy import Policy

__all__ = ["formula_of", "observed_of", "output_format", "pose"]


def formula_of(inputs: Inputs, policy: Policy) -> Formula:
    """Return the function that the target has to compute."""
    offset = inputs.op.one_plus if policy.weight is None else policy.weight == "one_plus"
    return Formula(
        eps=inputs.eps,
        eps_place=EpsPlace(policy.eps) if policy.eps else inputs.op.eps_place,
        weight_offset=1.0 if offset else 0.0,
        serial=policy.summation == "serial",
        flushes=policy.subnormals == "flushed",
    )


def output_format(inputs: Inputs, policy: Policy) -> torch.dtype:
    """Return the dtype that the outputs must have."""
    if policy.output == "input":
        return inputs.tensors["x"].dtype
    return {
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "float32": torch.float32,
        "float64": torch.float64,
    }[policy.output]


def pose(inputs: Inputs, policy: Policy, formula: Formula | None = None) -> Problem:
    """Bring the tensors of a case into the shape of the view.

    Args:
        inputs: The case's tensors. Each is taken as it is given: weight, bias, residual and running
            statistics may have other formats than x.
        policy: The declared conventions.
        formula: Another function than the declared one: a hypothesis of a diagnosis.
    """
    view, affine = inputs.reduction.view, inputs.reduction.affine
    tensors = inputs.tensors

    def parameter(name: str) -> Tensor | None:
        return tensors[name].reshape(affine) if name in tensors else None

    mean, variance = parameter("running_mean"), parameter("running_var")
    fixed, running = None, None
    if mean is not None and variance is not None:
        if inputs.case.mode == "eval":
            fixed = (mean, variance)
        else:
            biased = policy.running_var == "biased"
            running = RunningUpdate(mean, variance, inputs.case.momentum, biased)
    residual, gate, mask = (tensors.get(name) for name in ("residual", "z", "mask"))
    reduction = inputs.reduction
    if mask is not None:
        reduction = replace(reduction, valid=int(mask.sum()))
    return Problem(
        reduction=reduction,
        formula=formula or formula_of(inputs, policy),
        x=tensors["x"].reshape(view),
        output=FloatFormat.of(output_format(inputs, policy)),
        residual=None if residual is None else residual.reshape(view),
        gate=None if gate is None else gate.reshape(view),
        gate_first=policy.gate == "before",
        mask=None if mask is None else mask[:, None, :],
        weight=parameter("weight"),
        bias=parameter("bias"),
        fixed=fixed,
        running=running,
        rounding=None if policy.rounding == "any" else policy.rounding,
        arithmetic=FloatFormat.of(torch.float32) if policy.accumulation == "float32" else None,
    )


def observed_of(
    inputs: Inputs,
    outputs: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
) -> Observed:
    """Bring what a target returned into the shape of the view."""
    view, affine = inputs.reduction.view, inputs.reduction.affine
    shaped = {
        name: gradient.reshape(view if name in ("x", "residual", "z") else affine)
        for name, gradient in gradients.items()
    }
    return Observed(
        outputs={name: y.reshape(view) for name, y in outputs.items()},
        dy={name: dy.reshape(view) for name, dy in inputs.dy.items()} if gradients else {},
        gradients=shaped,
        state={name: buffer.reshape(affine) for name, buffer in state.items()},
    )
