"""Is it the right function, whatever the precision of its arithmetic?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import formula_of, observed_of, output_format, pose
from normcheck.execution.observation import Observation
from normcheck.execution.stopwatch import threads
from normcheck.numerics.comparison import Comparison
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.judge import judge
from normcheck.policy import Policy

__all__ = ["wrong_function"]


def wrong_function(
    observed: Observation, inputs: Inputs, policy: Policy
) -> Iterator[tuple[str, Comparison]]:
    """Yield what not even serial sums in the format of x explain, by the name of the tensor.

    Statistics that a target keeps in half precision, and sums as deep as they are long, exceed the
    budget wherever it is called: forward_accuracy and gradients report that, as they report what
    overflows. A finite number beyond the budget of such a target comes from another function.

    Args:
        observed: What one call returned; outputs or gradients of a wrong form are passed over.
        inputs: With what it was made.
        policy: The declared conventions.
    """
    x, dtype = inputs.tensors["x"], output_format(inputs, policy)
    fits = all(y.shape == x.shape and y.dtype == dtype for y in observed.outputs.values())
    outputs = observed.outputs if fits else {}
    gradients = {n: g for n, g in observed.gradients.items() if g.shape == inputs.tensors[n].shape}
    state = observed.state if inputs.case.mode == "train" else {}
    formula = replace(formula_of(inputs, policy), serial=True)
    problem = replace(pose(inputs, policy, formula), arithmetic=FloatFormat.of(x.dtype))
    with threads(1):
        found = judge(problem, observed_of(inputs, outputs, gradients, state))
    for tensor, offered in found.items():
        best = min(offered.values(), key=lambda comparison: comparison.ratio)
        if best.ratio > 1.0 and not best.nonfinite:
            yield tensor, best
