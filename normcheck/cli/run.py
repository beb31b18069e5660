"""``normcheck run``: judge one target, and others beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck.cli.options import (
    Implementation,
    fail_on_option,
    fail_on_values,
    fixed_values,
    implementation,
    place_to_write,
    target_options,
)
from normcheck.config import DEFAULT_DTYPES, PROFILES
from normcheck.errors import NormcheckError, UsageError

if TYPE_CHECKING:
    from normcheck.cli.judging import Request
    from normcheck.comparison_of_runs import FailOn
    from normcheck.record import Record

__all__ = ["command"]

_INTERRUPTED = 130

_HELP = """Judge TARGET: package.module:callable, path/file.py:callable, or an nn.Module class.

\b
normcheck run torch.nn.functional:rms_norm
normcheck run kernels.py:my_layer_norm --dtype float32,bfloat16 --html report.html
normcheck run kernels.py:my_layer_norm --against old.py:layer_norm --compare
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
@click.option(
    "--against", multiple=True, metavar="IMPL",
    help="Judge this too and compare; repeatable. It is judged without the target's --policy, "
    "--set and --framework; its own follow it, as in 'old.py:norm --policy eps=outside'.",
)  # fmt: skip
@click.option(
    "--compare",
    "defaults",
    is_flag=True,
    help="Compare with torch's own function, as it is and compiled, which takes minutes, and on a "
    "GPU with normcheck's kernel.",
)
@fail_on_option("never")
@target_options
def command(
    target: str, op: str | None, dtype: str, profile: str, properties: tuple[str, ...],
    seed: int | None, fail_fast: bool, verdict_only: bool, json_to: str | None, html_to: str | None,
    markdown_to: str | None, jobs: int | None, quiet: bool, against: tuple[str, ...],
    defaults: bool, fail_on: tuple[str, ...], device: str, policies: tuple[str, ...],
    fixed: tuple[str, ...], framework: str, timeout_s: float,
) -> int:  # fmt: skip
    """Judge one target; the words of the command line as typed."""
    from normcheck.cli.judging import Request
    from normcheck.cli.processes import DiedError, default_jobs, judged
    from normcheck.cli.progress import Listener
    from normcheck.comparison_of_runs import FailOn

    request = Request(
        target=target, op=op, dtype=dtype, profile=profile, properties=properties, seed=seed,
        fail_fast=fail_fast, device=device, policies=policies, fixed=fixed_values(fixed),
        framework=framework, timeout_s=timeout_s, verdict_only=verdict_only,
    )  # fmt: skip
    asked, outlets = fail_on_values(fail_on), Outlets(json_to, html_to, markdown_to)
    outlets.check()

    def one(request: Request) -> Record:
        return judged(request, Listener(quiet=quiet), jobs or default_jobs(request))

    try:
        request = request.checked()
        others = _others(request, [implementation(text) for text in against], defaults=defaults)
        if asked != {FailOn.NEVER} and not others:
            raise UsageError(
                f"--fail-on is {','.join(fail_on)}, but there is nothing to compare with: "
                "add --against IMPL or --compare"
            )
        record = one(request)
    except Exception as error:
        outlets.refused(request.refusal(str(error), failed=isinstance(error, DiedError)))
        raise
    status = outlets.tell(record)
    beside = Beside(record, {} if status == _INTERRUPTED else _judged_too(others, one))
    outlets.compare(beside)
    return beside.status(status, asked)


def _others(
    request: Request, given: Sequence[Implementation], *, defaults: bool
) -> dict[str, Request]:
    """Return what is to be judged beside the target, by name, with the words checked.

    Raises:
        UsageError: A word is unknown, or there is nothing to compare with.
    """
    found = {each.text: each for each in given}
    if defaults:
        own = _offered(str(request.op), request.device)
        own = [text for text in own if text != request.target]
        found |= {text: Implementation(text, text) for text in own}
    if defaults and not found:
        raise UsageError(
            f"--compare is given, but torch has no other function for {request.op}: "
            "name what to compare with by --against"
        )
    return {
        name: replace(
            request, target=each.target, policies=each.policies, fixed=each.fixed,
            framework=each.framework,
        ).checked()
        for name, each in found.items()
    }  # fmt: skip


def _offered(op: str, device: str) -> list[str]:
    """Return torch's function as it is, compiled, and our kernel: those that there are."""
    from normcheck.survey.adaptors import torch_compiled
    from normcheck.targets.own_kernels import kernel_of
    from normcheck.targets.torch_functions import MODULE, name_of

    eager = [f"{MODULE}:{name_of(op)}"] if name_of(op) else []
    has_compiled = op in torch_compiled.__all__
    compiled = [f"{torch_compiled.__name__}:{op}"] if has_compiled else []
    return [*eager, *compiled, *filter(None, [kernel_of(op, device)])]


def _judged_too(
    others: Mapping[str, Request], one: Callable[[Request], Record]
) -> dict[str, Record]:
    """Judge the others; one that cannot be judged leaves the record of a refusal."""
    from normcheck.cli.processes import DiedError
    from normcheck.record import INTERRUPTED, Record

    found: dict[str, Record] = {}
    for name, request in others.items():
        try:
            found[name] = one(request)
        except NormcheckError as error:
            document = request.refusal(str(error), failed=isinstance(error, DiedError))
            found[name] = Record.model_validate_json(document)
        except KeyboardInterrupt:
            found[name] = Record.model_validate_json(request.refusal(INTERRUPTED))
        if found[name].incomplete == INTERRUPTED:
            break
    return found


class Beside:
    """The target's record beside those of others."""

    def __init__(self, record: Record, rivals: Mapping[str, Record]) -> None:
        from normcheck.comparison_of_runs import compare_all

        self.record, self.rivals = record, list(rivals.values())
        self.all = compare_all(record, self.rivals, names=[record.target, *rivals])
        # The other way round: what is worse in the target than in one of the others.
        self.toward = [
            compare_all(rival, [record], names=[side.name, record.target])
            for rival, side in zip(self.rivals, self.all.others, strict=True)
            if not side.reason
        ]

    def status(self, own: int, asked: frozenset[FailOn]) -> int:
        """Return the exit status: the target's own, unless it is as bad as was asked."""
        from normcheck.comparison_of_runs import FailOn
        from normcheck.record import INTERRUPTED

        if any(rival.incomplete == INTERRUPTED for rival in self.rivals):
            click.echo("normcheck: interrupted: others were not judged to their end", err=True)
            return _INTERRUPTED
        if own == 0 and asked != {FailOn.NEVER}:
            unjudged = [side.name for side in self.all.others if side.reason]
            for name in unjudged:
                click.echo(f"normcheck: nothing to compare with: {name} was not judged", err=True)
            if unjudged:
                return 4
        worse = [each.baseline.name for each in self.toward if each.fails(asked)]
        if own == 0 and worse:
            click.echo(f"normcheck: worse than {', '.join(worse)}, as --fail-on asks", err=True)
            return 1
        return own


class Outlets:
    """Where the record goes."""

    def __init__(self, json_to: str | None, html_to: str | None, markdown_to: str | None) -> None:
        self.json_to, self.html_to, self.markdown_to = json_to, html_to, markdown_to

    def check(self) -> None:
        """Refuse a place that cannot be written before minutes are spent on a run."""
        for name in (self.json_to, self.html_to, self.markdown_to):
            if name and name != "-":
                place_to_write(Path(name))

    def refused(self, document: str) -> None:
        """Write the record of a run that did not take place."""
        if self.json_to:
            self._json(document)

    def _json(self, document: str) -> None:
        if self.json_to == "-":
            click.echo(document)
        elif self.json_to:
            Path(self.json_to).write_text(document + "\n", encoding="utf-8")

    def tell(self, record: Record) -> int:
        """Write the record, print its summary, and return its exit status."""
        from normcheck.record import INTERRUPTED, Verdict
        from normcheck.reports.text import summary

        self._json(record.to_json())
        if self.json_to != "-":
            click.echo(summary(record))
        if record.incomplete == INTERRUPTED:
            click.echo("normcheck: interrupted: the record holds what was judged so far", err=True)
            return _INTERRUPTED
        if record.verdict is Verdict.NOT_JUDGED:
            click.echo(f"normcheck: {_why_not(record)}", err=True)
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.NOT_JUDGED: 4}[record.verdict]

    def compare(self, beside: Beside) -> None:
        """Print how the target does beside others, and write every view for people."""
        from normcheck.reports import comparison
        from normcheck.reports.text import markdown

        pages = [markdown(beside.record)]
        if beside.rivals:
            # With the record on stdout, nothing else goes there.
            told = comparison.text(beside.all, beside.toward)
            click.echo(f"\ncompared on the same cases\n\n{told}", err=self.json_to == "-")
            pages.append(comparison.markdown(beside.all, beside.toward))
        if self.markdown_to:
            Path(self.markdown_to).write_text("\n".join(pages), encoding="utf-8")
        if self.html_to:
            from normcheck.reports.html import save

            files = save(beside.record, Path(self.html_to), beside.all if beside.rivals else None)
            if self.json_to != "-":
                click.echo(f"report: {', '.join(map(str, files))}")


def _why_not(record: Record) -> str:
    """Say in one line why nothing was judged."""
    refusals = [u.message for u in record.unsupported]
    why = refusals[0] if refusals else record.incomplete or "no case of this run applies"
    return f"{record.target} was not judged: {why}"
