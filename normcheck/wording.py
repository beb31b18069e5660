"""How a failure is put into words: at most 20 lines, the same at every door."""

from __future__ import annotations

import math

from normcheck.cases.materialise import Inputs
from normcheck.cases.regimes import MIXES, parse
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.ops.op import Family
from normcheck.plan import Plan
from normcheck.properties.property import Finding
from normcheck.ratio import ratio_text
from normcheck.record import Failure
from normcheck.targets.triton_interpreter import PREFIX, has_interpreted

__all__ = ["COHERENT", "failure_text", "one_line"]

# With a line of the report about other cases and checks, fewer than twenty.
MOST_LINES = 18
_RULES = {"y": "F", "residual_out": "A", "grad_x": "B1", "grad_residual": "B1", "grad_z": "G"}
_RULES |= {"grad_weight": "B2", "grad_bias": "B3", "running_mean": "S", "running_var": "S"}

COHERENT = {"implied_statistics": "I1", "gradient_identities": "I2"}
"""Properties whose words are about plain calls, and their rules."""


def one_line(plan: Plan, name: str, finding: Finding, failure: Failure) -> str:
    """Tell a failure that was not looked into, and how to see it again."""
    what = finding.detail or f"{finding.tensor} is {ratio_text(failure.ratio)} over budget"
    return f"{name}: {what}\n  reproduce {_again(plan, failure)}"


def _again(plan: Plan, failure: Failure) -> str:
    options = "".join(f" {option}" for option in plan.policy.options())
    prefix = PREFIX if has_interpreted() else ""
    return f"{prefix}normcheck repro {plan.adapter.text} {failure.case}{options}"


def _number(value: float) -> str:
    return f"{value:.6g}"


def _input(inputs: Inputs) -> str:
    """Describe the case in words."""
    case = inputs.case
    if inputs.op.family is Family.ROWS:
        columns = inputs.reduction.count
        rows = case.elements // columns if columns else 0
        size = f"{rows} row{'s' * (rows != 1)} \u00d7 {columns} column{'s' * (columns != 1)}"
    else:
        size = "shape " + "\u00d7".join(map(str, case.shape))
    if case.regime in MIXES:
        values = f"the mix '{case.regime}' of {len(MIXES[case.regime])} regimes"
    else:
        regime, strength = parse(case.regime)
        values = regime.summary.replace("strength", f"{strength:g}")
    parts = [size, values, f"eps {inputs.eps:g}"]
    parts += [name for name in ("weight", "bias") if name in inputs.tensors]
    if case.mode == "eval":
        parts.append("evaluation mode")
    if case.layout != "contiguous":
        parts.append(case.layout)
    return ", ".join(parts)


def _kappa(condition: float) -> str:
    """Write a condition number; that of a constant slice is infinite."""
    if condition == 1.0:
        return ""
    return f"\u03ba = {condition:.3g}" if condition < 1e15 else "\u03ba = \u221e"


def _rule(name: str, inputs: Inputs, tensor: str) -> str:
    """Name the rule of the budget, "" where the tensor has none of its own."""
    # A gate multiplies what is normalised, or what comes out.
    gated = tensor == "y" and "z" in inputs.tensors
    second = "D1" if tensor.startswith("tangent_") else "D2" if tensor.startswith("grad2_") else ""
    rule = COHERENT.get(name) or second or ("G" if gated else _RULES.get(tensor, ""))
    return f"rule {rule} of docs/budgets.md" if rule else ""


def _numbers(name: str, inputs: Inputs, finding: Finding) -> list[str]:
    """Expected, accepted, got."""
    worst = finding.worst
    if worst is None:
        return [f"  wrong     {finding.detail}"]
    label = "wrong" if name in COHERENT else "call "
    how = [f"  {label}     {finding.detail}"] if finding.detail else []
    base = finding.tensor.removesuffix("_with_gradients")
    place = ", ".join(map(str, worst.index))
    accepted = f"{_number(worst.lower)} to {_number(worst.upper)}"
    if worst.lower == worst.upper:
        accepted = f"{_number(worst.lower)} only"
    told = [_rule(name, inputs, base), _kappa(worst.condition)]
    source = ", ".join(filter(None, told))
    fmt = FloatFormat.of(BY_NAME[inputs.case.dtype])
    got = f"  got       {_number(worst.computed)}"
    error = abs(worst.computed - worst.reference)
    if math.isfinite(error):
        got += f"   error {error:.3g}"
        # Beside an exact zero an ulp is the smallest subnormal number: no measure of anything.
        got += f" = {abs(worst.ulps):.4g} ulp" if abs(worst.ulps) < 1e9 else ""
    got += f"; {finding.violations} of {finding.judged} elements of {finding.tensor} over budget"
    reference = "double-double" if fmt.precision == 53 else "float64"
    expected = f"{finding.tensor}[{place}] = {_number(worst.reference)}"
    return [
        *how,
        f"  expected  {expected}   ({reference} reference)",
        f"  budget    accepted {accepted}" + (f"   ({source})" if source else ""),
        got,
    ]


def failure_text(plan: Plan, name: str, inputs: Inputs, finding: Finding, failure: Failure) -> str:
    """Tell a failure in at most `MOST_LINES` lines.

    Args:
        plan: The run.
        name: The property.
        inputs: The smallest failing case's tensors.
        finding: What is wrong with it.
        failure: The same as the record tells it, without its message.
    """
    case = inputs.case
    title = f"{case.op} \u00b7 {case.dtype} \u00b7 {plan.device} \u00b7 {name}"
    over = f"{ratio_text(failure.ratio)} over budget" if finding.worst else "violated"
    lines = [f"{title}  {over}", f"  input     {_input(inputs)}"]
    lines += _numbers(name, inputs, finding)
    if failure.matters or failure.does_not_matter:
        text = f"  matters   {', '.join(failure.matters) or 'nothing that was varied'}"
        if failure.does_not_matter:
            text += f"   does not matter: {', '.join(failure.does_not_matter)}"
        lines.append(text)
    if failure.likely:
        lines.append(f"  likely    {failure.likely}")
    lines.append(f"  docs      normcheck explain {name}")
    again = _again(plan, failure)
    lines.append(f"  reproduce {again}")
    script = failure.reproducer.splitlines()
    if script and len(lines) + 1 + len(script) <= MOST_LINES and max(map(len, script)) <= 160:
        lines.append("  without normcheck (torch alone):")
        lines += [f"      {line}" for line in script]
    elif script:
        lines.append(f"  a script that needs torch alone: {again} --script")
    return "\n".join(lines)
