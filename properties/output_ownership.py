"""Outputs belong to the caller: no memory shared with arguments, nothing changed by later calls."""

from __future__ import annotations

from torch import Tensor

from normcheck.execution.session import same_bits
from normcheck.execution.way import Way
from normcheck.properties.other_inputs import another
from normcheck.properties.outcomes import HELD
from normcheck.properties.probing import applies, unready
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "OutputOwnership"]


# A ring of buffers comes back to the first one.
_CALLS = 6


class OutputOwnership(Property):
    """Memory of the outputs, at once and after another call."""

    name = "output_ownership"
    local = True
    explanation = Explanation(
        claim="An output shares no memory with an argument or with another output, unless that is "
        "declared with --policy inplace=..., and stays what it is when the target is called again.",
        why="A buffer that is kept between calls is right for a test that looks at one output at "
        "a time, and wrong for every model that still holds the one before.",
        bound="Exact, bit for bit.",
        bugs=(
            "https://github.com/linkedin/Liger-Kernel/pull/1305 (a buffer compared with itself)",
            "https://github.com/ModelTC/LightLLM/pull/1105 (result left in another tensor)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the memory of one case's outputs."""
        if not applies(trial, elements=1 << 14, every=2, offset=1):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        if trial.policy.inplace or trial.adapter.binding.destinations:
            return Outcome(Status.INAPPLICABLE, reason="outputs are left in the caller's memory")
        session = trial.session(Way())
        first = session.run()
        if first.raised is not None:
            return Outcome(Status.INAPPLICABLE)
        kept = dict(session.returned)
        shared = _shared(kept, {**session.tensors, **kept})
        if shared:
            return Outcome(Status.VIOLATED, finding=shared)
        for steps in range(1, _CALLS):
            trial.call(Way(), another(trial, steps))
        for name, y in kept.items():
            if not same_bits(y.detach().cpu(), first.outputs[name]):
                text = "changed when the target was called again, on other tensors"
                return Outcome(Status.VIOLATED, finding=Finding(name, text))
        return HELD


def _extent(tensor: Tensor) -> tuple[int, int]:
    """First byte, and the byte after the last one."""
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()


def _shared(outputs: dict[str, Tensor], tensors: dict[str, Tensor]) -> Finding | None:
    """Return the first output that overlaps another tensor."""
    for name, y in outputs.items():
        start, end = _extent(y)
        for other, tensor in tensors.items():
            begin, stop = _extent(tensor)
            if other != name and y.device == tensor.device and start < stop and begin < end:
                return Finding(name, f"shares memory with {other}, which is not declared")
    return None


PROPERTY = OutputOwnership()
