"""Every gradient element is within its own budget: dx, dweight, dbias, dresidual."""

from __future__ import annotations

from normcheck.execution.observation import Trouble
from normcheck.properties.outcomes import from_comparisons, from_trouble
from normcheck.properties.property import Explanation, Finding, Outcome, Property, Status
from normcheck.properties.trial import Trial

__all__ = ["PROPERTY", "Gradients"]


class Gradients(Property):
    """Gradients of all inputs, through the target's own autograd, for a random dy."""

    name = "gradients"
    explanation = Explanation(
        claim="Every element of every gradient is the rounding of a real number within its "
        "budget of the exact gradient, each tensor on its own scale.",
        why="A missing mean or projection term, statistics saved in low precision, parameter "
        "gradients accumulated in bfloat16 (a sum of ones sticks at 256) or a gradient that is "
        "never written train a model to worse results without any error.",
        bound="Rules B1 to B3 of docs/budgets.md: each product, mean and sum with its roundings. "
        "dy is random and never all ones, for which most wrong formulas give the right zero.",
        bugs=(
            "https://github.com/tenstorrent/tt-metal/issues/53204 (doubled term in a gradient)",
            "https://github.com/linkedin/Liger-Kernel/pull/950 (weight gradient in bfloat16)",
            "https://github.com/unslothai/unsloth/pull/4550 (weight gradient missing)",
        ),
    )

    def judge(self, trial: Trial) -> Outcome:
        """Judge the gradients of one case."""
        observed = trial.backward
        if trial.inputs.case.elements == 0 and not observed.gradients:
            # A gradient that is not there is as good as one that is empty.
            return Outcome(Status.INAPPLICABLE)
        severed = trial.severed()
        if severed:
            return Outcome(Status.VIOLATED, finding=Finding("grad_x", severed))
        if observed.raised is not None:
            refused = observed.raised.trouble is Trouble.REFUSED
            if refused and trial.forward.raised is None:
                return Outcome(Status.UNSUPPORTED, reason=f"with gradients: {observed.raised.text}")
            wrong = observed.raised.trouble is Trouble.UNEXPECTED
            if wrong and trial.forward.raised is None:
                finding = Finding("target", observed.raised.text)
                return Outcome(Status.VIOLATED, finding=finding)
            return from_trouble(observed.raised)
        if not trial.comparisons or not trial.well_formed(observed):
            return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
        missing = _missing(trial)
        if missing is not None:
            return Outcome(Status.VIOLATED, finding=missing)
        names = [name for name in trial.comparisons if name.startswith("grad_")]
        return from_comparisons(trial, names)


def _missing(trial: Trial) -> Finding | None:
    """Return the first gradient that is absent or has the wrong shape."""
    for parameter in trial.inputs.op.tensors:
        given = trial.inputs.tensors.get(parameter.name)
        if given is None or not parameter.differentiable:
            continue
        gradient = trial.backward.gradients.get(parameter.name)
        name = f"grad_{parameter.name}"
        if gradient is None:
            return Finding(name, f"no gradient reaches {parameter.name}")
        if gradient.shape != given.shape:
            text = f"gradient has shape {tuple(gradient.shape)}, not {tuple(given.shape)}"
            return Finding(name, text)
    return None


PROPERTY = Gradients()
