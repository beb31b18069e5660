"""Classes that a property names by itself: what it tests is the hypothesis."""

from __future__ import annotations

from collections.abc import Callable

from normcheck.cases.materialise import Inputs
from normcheck.ops.op import Family
from normcheck.properties.property import Finding

__all__ = ["claimed"]

# Property: class, and what its finding means.
_MEANS = {
    "outputs_written": ("K14", "part of the output is never written"),
    "padding_independence": ("K13", "what lies beside the rows gets into the result"),
    "slice_independence": ("K15", "a slice depends on its neighbours"),
    "batch_invariance": ("K39", "a row is computed in another way in another batch"),
    "output_ownership": ("K28", "outputs share memory with each other or with arguments"),
    "interleaved_calls": ("K25", "the backward uses what a later call has saved"),
    "freshness": ("K25", "something is kept from an earlier call"),
    "mixed_dtypes": ("K22", "a tensor is read or rounded in another tensor's dtype"),
    "requires_grad_subsets": ("K27", "a gradient depends on which others are wanted"),
    "running_state_machine": ("K33", "the buffers depend on more than the last step"),
    "eval_gradients": ("K29", "evaluation mode differentiates in another way than it computes"),
    "second_derivatives": ("K31", "the backward is not differentiated right"),
    "forward_mode": ("K31", "tangents are not those of the function"),
    "vmap": ("K31", "under vmap another function is computed"),
    "compiled": ("K38", "compiled, another function is computed"),
    "custom_op": ("K38", "what is registered is not what is computed"),
    "reentrancy": ("K23", "calls at the same time share memory"),
    "degenerate_arguments": ("K37", "empty or invalid arguments are not treated apart"),
    "train_inference_agreement": ("K36", "training and inference compute different functions"),
    "optional_arguments": ("K36", "an optional argument is not passed on"),
    "rank_independence": ("K21", "the rank of x changes the result"),
    "structure_equivalence": ("K20", "the axes are not those of the op"),
    "output_contract": ("K40", "shape, dtype, layout or device are not the contract's"),
}


def claimed(name: str, finding: Finding, inputs: Inputs) -> tuple[str, str] | None:
    """Return class and meaning of a finding, None where the property does not say.

    Args:
        name: The property.
        finding: What is wrong.
        inputs: The case.
    """
    if inputs.case.elements == 0:
        return "K37", "an empty input is not treated apart"
    special = _SPECIAL.get(name)
    found = None if special is None else special(finding, inputs)
    return found or _MEANS.get(name)


def _layout(finding: Finding, inputs: Inputs) -> tuple[str, str]:
    kind = "K19" if inputs.op.family is Family.CHANNELS else "K18"
    return kind, "strides, offset or alignment of an argument are not honoured"


def _overwritten(finding: Finding, inputs: Inputs) -> tuple[str, str]:
    if "running" in finding.tensor:
        return "K34", "running statistics are updated in evaluation mode"
    return "K28", "an argument is overwritten"


def _path(finding: Finding, inputs: Inputs) -> tuple[str, str]:
    if "autocast" in finding.detail:
        return "K22", "under autocast something is rounded too early"
    return "K36", "another function is computed on this path"


def _later_call(finding: Finding, inputs: Inputs) -> tuple[str, str] | None:
    if "at call" in finding.detail:
        return "K38", "a path taken after some calls computes another function"
    return None


def _nonfinite(finding: Finding, inputs: Inputs) -> tuple[str, str]:
    if "came out finite" in finding.detail:
        return "K11", "NaN and infinities are replaced by finite values"
    return "K15", "a slice that is not finite spoils its neighbours"


def _missing(finding: Finding, inputs: Inputs) -> tuple[str, str] | None:
    return ("K27", "the gradient is missing") if "no gradient" in finding.detail else None


_SPECIAL: dict[str, Callable[[Finding, Inputs], tuple[str, str] | None]] = {
    "layout_independence": _layout,
    "inputs_unchanged": _overwritten,
    "every_path": _path,
    "freshness": _later_call,
    "nonfinite_containment": _nonfinite,
    "gradients": _missing,
}
