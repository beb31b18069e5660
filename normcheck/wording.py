"""How a failure is put into words: at most 20 lines, the same at every door."""

from __future__ import annotations

from normcheck.cases.materialise import Inputs
from normcheck.cases.regimes import MIXES, parse
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.ops.op import Family
from normcheck.plan import Plan
from normcheck.properties.property import Finding
from normcheck.ratio import ratio_text
from normcheck.record import Failure

__all__ = ["failure_text", "one_line"]

MOST_LINES = 20
_RULES = {"y": "F", "residual_out": "A", "grad_x": "B1", "grad_residual": "B1"}
_RULES |= {"grad_weight": "B2", "grad_bias": "B3", "running_mean": "S", "running_var": "S"}


def one_line(name: str, finding: Finding, failure: Failure) -> str:
    """Tell a failure that was not looked into."""
    if finding.detail:
        return f"{name}: {finding.detail}"
    return f"{name}: {finding.tensor} is {ratio_text(failure.ratio)} over budget"


def _number(value: float | None) -> str:
    return "not a finite number" if value is None else f"{value:.6g}"


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


def _numbers(inputs: Inputs, finding: Finding, failure: Failure) -> list[str]:
    """Expected, accepted, got."""
    if finding.worst is None:
        return [f"  wrong     {finding.detail}"]
    base = finding.tensor.removesuffix("_with_gradients")
    lower, upper = failure.accepted
    place = ", ".join(map(str, failure.index))
    accepted = f"{_number(lower)} to {_number(upper)}"
    if lower is not None and lower == upper:
        accepted = f"{_number(lower)} only"
    rule = f"rule {_RULES[base]} of docs/budgets.md" if base in _RULES else ""
    kappa = f", \u03ba = {failure.condition:.3g}" if failure.condition not in (None, 1.0) else ""
    fmt = FloatFormat.of(BY_NAME[inputs.case.dtype])
    got = f"  got       {_number(failure.computed)}"
    if failure.computed is not None and failure.expected is not None:
        error = abs(failure.computed - failure.expected)
        got += f"   error {error:.3g}"
        got += f" = {abs(failure.ulps):.4g} ulp" if failure.ulps is not None else ""
    got += f"; {finding.violations} of {finding.judged} elements of {finding.tensor} over budget"
    reference = "double-double" if fmt.precision == 53 else "float64"
    expected = f"{finding.tensor}[{place}] = {_number(failure.expected)}"
    return [
        f"  expected  {expected}   ({reference} reference)",
        f"  budget    accepted {accepted}   ({rule}{kappa})",
        got,
    ]


def failure_text(plan: Plan, name: str, inputs: Inputs, finding: Finding, failure: Failure) -> str:
    """Tell a failure in at most 20 lines.

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
    lines += _numbers(inputs, finding, failure)
    if failure.matters or failure.does_not_matter:
        text = f"  matters   {', '.join(failure.matters) or 'nothing that was varied'}"
        if failure.does_not_matter:
            text += f"   does not matter: {', '.join(failure.does_not_matter)}"
        lines.append(text)
    if failure.likely:
        lines.append(f"  likely    {failure.likely}")
    lines.append(f"  docs      normcheck explain {name}")
    options = "".join(f" {option}" for option in plan.policy.options())
    again = f"normcheck repro {plan.adapter.text} {failure.case}{options}"
    lines.append(f"  reproduce {again}")
    script = failure.reproducer.splitlines()
    if script and len(lines) + 1 + len(script) <= MOST_LINES and max(map(len, script)) <= 160:
        lines.append("  without normcheck (torch alone):")
        lines += [f"      {line}" for line in script]
    elif script:
        lines.append(f"  without normcheck (torch alone): {again} --script")
    return "\n".join(lines)
