"""``normcheck repro``: judge one target on one case."""

from __future__ import annotations

import click

from normcheck.cli.options import fixed_values, target_options
from normcheck.cli.streams import stdout_to_stderr

__all__ = ["command"]


@click.command("repro")
@click.argument("target")
@click.argument("case")
@click.option("--property", "properties", multiple=True, help="Only this property; repeatable.")
@click.option("--script", is_flag=True, help="Print Python that needs torch and the target alone.")
@target_options
def command(
    target: str, case: str, properties: tuple[str, ...], script: bool, device: str,
    policies: tuple[str, ...], fixed: tuple[str, ...], framework: str, timeout_s: float,
) -> int:  # fmt: skip
    """Judge TARGET on CASE, the id that a failure prints. Exit status 1 while it still fails."""
    with stdout_to_stderr():
        from normcheck.api import make_plan
        from normcheck.cases.case import Case
        from normcheck.replay import replay

        found = Case.parse(case)
        plan = make_plan(
            target, op=found.op, dtypes=(found.dtype,), on=device, profile="quick",
            policies=policies, fixed=fixed_values(fixed), framework=framework,
            properties=properties, timeout_s=timeout_s,
        )  # fmt: skip
        answer = replay(plan, found)
    if script:
        if not answer.script:
            from normcheck.targets.triton_interpreter import has_interpreted

            why = "nothing wrong with a number here"
            if has_interpreted():
                why += ", or Triton's interpreter gets its bfloat16 wrong without normcheck"
            click.echo(f"normcheck: {why}, so no script", err=True)
        else:
            click.echo(answer.script)
    else:
        click.echo(answer.text)
    return answer.status
