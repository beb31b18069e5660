"""``normcheck run``: judge one target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import fixed_values, target_options
from normcheck.config import DEFAULT_DTYPES, PROFILES

if TYPE_CHECKING:
    from normcheck.record import Record

__all__ = ["command"]


_HELP = """Judge TARGET: package.module:callable, path/file.py:callable, or an nn.Module class.

\b
normcheck run torch.nn.functional:rms_norm
normcheck run kernels.py:my_layer_norm --dtype float32,bfloat16 --html report.html
"""


@click.command("run", help=_HELP)
@click.argument("target")
@click.option("--op", help="What it is judged as; told from its name if left out.")
@click.option(
    "--dtype",
    default=",".join(DEFAULT_DTYPES),
    show_default=True,
    help="One or more, joined by commas.",
)
@click.option("--profile", default="standard", show_default=True, help=f"{', '.join(PROFILES)}.")
@click.option("--property", "properties", multiple=True, help="Only this property; repeatable.")
@click.option("--seed", type=int, help="Seeds what is drawn beyond the fixed corpus.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--verdict-only", is_flag=True, help="Leave out power and envelope.")
@click.option("--json", "json_to", metavar="FILE|-", help="Write the record as JSON; - is stdout.")
@click.option("--html", "html_to", metavar="FILE", help="Write an HTML report.")
@click.option("--markdown", "markdown_to", metavar="FILE", help="Write a Markdown summary.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1),
    help="Processes that share the dtypes.  [default: one per core; 1 for a GPU or --fail-fast]",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@target_options
def command(
    target: str, op: str | None, dtype: str, profile: str, properties: tuple[str, ...],
    seed: int | None, fail_fast: bool, verdict_only: bool, json_to: str | None, html_to: str | None,
    markdown_to: str | None, jobs: int | None, quiet: bool, device: str, policies: tuple[str, ...],
    fixed: tuple[str, ...], framework: str, timeout_s: float,
) -> int:  # fmt: skip
    """Judge one target; the words of the command line as typed."""
    from normcheck.cli.judging import Request
    from normcheck.cli.processes import DiedError, default_jobs, judged
    from normcheck.cli.progress import Listener

    request = Request(
        target=target, op=op, dtype=dtype, profile=profile, properties=properties, seed=seed,
        fail_fast=fail_fast, device=device, policies=policies, fixed=fixed_values(fixed),
        framework=framework, timeout_s=timeout_s, verdict_only=verdict_only,
    )  # fmt: skip
    outlets = Outlets(json_to, html_to, markdown_to)
    outlets.check()
    try:
        request = request.checked()
        record = judged(request, Listener(quiet=quiet), jobs or default_jobs(request))
    except Exception as error:
        outlets.refused(request.refusal(str(error), failed=isinstance(error, DiedError)))
        raise
    return outlets.finish(record)


class Outlets:
    """Where the record goes."""

    def __init__(self, json_to: str | None, html_to: str | None, markdown_to: str | None) -> None:
        self.json_to, self.html_to, self.markdown_to = json_to, html_to, markdown_to

    def check(self) -> None:
        """Refuse a place that cannot be written before minutes are spent on a run."""
        for name in (self.json_to, self.html_to, self.markdown_to):
            if not name or name == "-":
                continue
            if not Path(name).resolve().parent.is_dir():
                raise click.UsageError(f"{Path(name).parent} is not a folder, asked for by {name}")
            if Path(name).is_dir():
                raise click.UsageError(f"{name} is a folder, but must be a file to write")

    def refused(self, document: str) -> None:
        """Write the record of a run that did not take place."""
        if self.json_to:
            self._json(document)

    def _json(self, document: str) -> None:
        if self.json_to == "-":
            click.echo(document)
        elif self.json_to:
            Path(self.json_to).write_text(document + "\n", encoding="utf-8")

    def finish(self, record: Record) -> int:
        """Write every view of the record, and return the exit status."""
        from normcheck.record import INTERRUPTED, Verdict
        from normcheck.reports.text import markdown, summary

        self._json(record.to_json())
        if self.markdown_to:
            Path(self.markdown_to).write_text(markdown(record), encoding="utf-8")
        if self.html_to:
            from normcheck.reports.html import render

            Path(self.html_to).write_text(render(record), encoding="utf-8")
        if self.json_to != "-":
            click.echo(summary(record))
            if self.html_to:
                click.echo(f"report: {self.html_to}")
        if record.incomplete == INTERRUPTED:
            click.echo("normcheck: interrupted: the record holds what was judged so far", err=True)
            return 130
        if record.verdict is Verdict.NOT_JUDGED:
            click.echo(f"normcheck: {_why_not(record)}", err=True)
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.NOT_JUDGED: 4}[record.verdict]


def _why_not(record: Record) -> str:
    """Say in one line why nothing was judged."""
    refusals = [u.message for u in record.unsupported]
    why = refusals[0] if refusals else record.incomplete or "no case of this run applies"
    return f"{record.target} was not judged: {why}"
