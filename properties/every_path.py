"""Every way through the framework is right: no_grad, inference_mode, frozen arguments, autocast."""

from __future__ import annotations

import torch

from normcheck.execution.way import Way
from normcheck.properties.outcomes import is_finite
from normcheck.properties.probing import Probes, applies, unready
from normcheck.properties.property import Explanation, Outcome, Property, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "EveryPath"]


class EveryPath(Property):
    """Each path judged as if it were the only one."""

    name = "every_path"
    explanation = Explanation(
        claim="With gradients, without, in inference mode, with no argument that needs a gradient "
        "and under autocast the answer is within budget, or the call is refused.",
        why="Kernels choose another path where no gradient is needed, and autocast may narrow an "
        "argument before it is widened again; tests take one of the paths.",
        bound="The budget of forward_accuracy. Under autocast the output has the format of x or "
        "is float32; its budget is that of the format of x.",
        bugs=(
            "https://github.com/fla-org/flash-linear-attention/issues/63 (training, inference)",
            "https://github.com/keras-team/keras/issues/22586 (autocast before the norm)",
            "https://github.com/pytorch/pytorch/pull/174824 (fallback under autocast)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge one case on every path."""
        if not applies(trial, elements=4096, every=2) or not is_finite(trial):
            return Outcome(Status.INAPPLICABLE)
        outcome = unready(trial)
        if outcome is not None:
            return outcome
        probes = Probes(trial)
        probes.ask("in inference_mode", Way(inference=True), base=trial.forward)
        words = "with gradients enabled and no argument that needs one"
        probes.ask(words, Way(gradients=True, wanted=()), base=trial.forward)
        wide = {torch.float32} - {trial.inputs.tensors["x"].dtype}
        for narrow in ("bfloat16", "float16"):
            way = Way(autocast=narrow)
            observed, call = trial.call(way), SpecialCall(trial.inputs, way)
            words = f"under autocast to {narrow}"
            probes.hold(words, observed, base=trial.forward, dtypes=wide, call=call)
        return probes.outcome()


PROPERTY = EveryPath()
