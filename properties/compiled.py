"""A target under torch.compile is as right as without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Trouble
from normcheck.execution.transformed import framework_name
from normcheck.execution.way import Way
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.probing import Probes, unready
from normcheck.properties.property import Explanation, Outcome, Property, Status
from normcheck.properties.trial import Trial
from normcheck.targets.adapter import Adapter, FunctionAdapter
from normcheck.targets.module import ModuleAdapter

__all__ = ["BACKEND", "PROPERTY", "Compiled", "compiled", "looks_at"]

# Traces, decomposes and differentiates as inductor does, and then calls torch's own kernels:
# seconds less, and no C++ compiler.
BACKEND = "aot_eager_decomp_partition"
# Cases of the standard tables, by seed and number of elements: the first tracing costs seconds,
# which the quick profile does not have. Two of rows, and one of channels with running statistics.
_CASES = {(48, 4096), (60, 68), (45, 3996)}


class Compiled(Property):
    """The target traced whole, decomposed and differentiated ahead of time."""

    name = "compiled"
    local = True
    heavy = True
    explanation = Explanation(
        claim="Compiled by torch.compile, the target returns outputs, gradients and running "
        "statistics that are within the budgets.",
        why="Tracing takes other branches, and decompositions replace kernels by other formulas: "
        "a norm that is right in eager mode can be wrong where it is deployed.",
        bound="The budgets of docs/budgets.md, as for the target itself; it may round in another "
        f"place than without. With the backend {BACKEND}, on a few cases of the standard tables. "
        "A target that cannot be traced as one graph is not judged.",
        bugs=(
            "https://github.com/pytorch/pytorch/issues/140913 (group_norm, bfloat16)",
            "https://github.com/pytorch/pytorch/issues/191976 (layer_norm off by 1.8)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case by compiling the target for it."""
        if not looks_at(trial):
            return Outcome(Status.INAPPLICABLE)
        if framework_name(trial.adapter) != "torch":
            reason = f"torch.compile does not take {framework_name(trial.adapter)} arrays"
            return Outcome(Status.UNSUPPORTED, reason=reason)
        excused = unready(trial)
        if excused is not None:
            return excused
        import torch._dynamo

        before = trial.session(Way()).executor
        executor = InProcess(
            compiled(trial.adapter, BACKEND), before.device, before.policy, before.watchdog
        )
        executor.threads = before.threads
        # Its own choice of where to round: what is fused rounds less often.
        own = Trial(trial.inputs, executor, trial.policy, RoundingChoice())
        gradients = trial.backward.raised is None
        torch._dynamo.reset()
        observed = executor.call(trial.inputs, Way(gradients=gradients))
        torch._dynamo.reset()
        if observed.raised is not None and observed.raised.trouble is Trouble.REFUSED:
            return from_trouble(observed.raised)
        probes = Probes(own, _blamed=Probes(trial).blamed)
        base = trial.backward if gradients else trial.forward
        probes.hold("under torch.compile", observed, base=base)
        return probes.outcome()


def looks_at(trial: Trial) -> bool:
    """Whether a case is one of the few that are compiled."""
    return (trial.inputs.case.seed, trial.inputs.case.elements) in _CASES


def compiled(adapter: Adapter, backend: str) -> Adapter:
    """Return the target with its function, or its module's forward, compiled as one graph."""
    import torch

    if isinstance(adapter, FunctionAdapter):
        function: Callable[..., object] = torch.compile(
            adapter.function, backend=backend, fullgraph=True, dynamic=False
        )
        return replace(adapter, function=function)
    assert isinstance(adapter, ModuleAdapter), "there are functions and modules"
    return replace(adapter, module=_compiling(adapter.module, backend))


def _compiling(module: type[nn.Module], backend: str) -> type[nn.Module]:
    """A subclass whose objects compile their own forward."""
    import torch

    def built(self: nn.Module, *arguments: Any, **named: Any) -> None:
        module.__init__(self, *arguments, **named)

        # A function of its own: frames that lie in torch.nn are not traced by themselves.
        def forward(*given: Any) -> Any:
            return module.forward(self, *given)

        self.forward = torch.compile(forward, backend=backend, fullgraph=True, dynamic=False)

    return type(module.__name__, (module,), {"__init__": built})


PROPERTY = Compiled()
