"""``normcheck bench``: the speed of one target beside others, and whether it may be compared."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck import config
from normcheck.cli.options import fixed_values, implementation, place_to_write, target_options

if TYPE_CHECKING:
    from normcheck.bench.settings import Settings

__all__ = ["command"]

_DTYPES = "float32"
_HELP = """Time TARGET, forward and backward, beside others on the same inputs.

\b
normcheck bench torch.nn.functional:layer_norm
normcheck bench kernels.py:my_rms_norm --against torch --against old.py:rms_norm
normcheck bench kernels.py:my_rms_norm --dtype bfloat16 --device cuda --json bench.json

Every implementation is judged first, in profile quick; one that fails is timed but never ranked.
The exit status is 0 whatever they do; `normcheck run` judges one of them.
"""


@click.command("bench", help=_HELP)
@click.argument("target")
@click.option("--op", help="What it is judged as; told from its name if left out.")
@click.option(
    "--against", multiple=True, metavar="IMPL",
    help="Compare with this; repeatable. torch is torch's own function, compiled the same through "
    "torch.compile. An IMPL takes none of the target's --policy, --set and --framework; its own "
    "follow it, as in 'old.py:norm --policy eps=outside'.  [default: torch, compiled]",
)  # fmt: skip
@click.option("--dtype", default=_DTYPES, show_default=True, help="One or more, joined by commas.")
@click.option(
    "--sizes", metavar="N,...", default="",
    help="Columns, or positions along each of two spatial dimensions of (rows, 64, N, N).  "
    "[default: 256,1024,4096,16384, or 7,14,28,56]",
)  # fmt: skip
@click.option(
    "--rows", type=int, help="Rows, or samples of (rows, 64, N, N).  [default: 1024, or 16]"
)
@click.option("--json", "json_to", metavar="FILE|-", help="Write the bench as JSON; - is stdout.")
@click.option("--html", "html_to", metavar="FILE", help="Write the bench as a page.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@target_options
def command(
    target: str, op: str | None, against: tuple[str, ...], dtype: str, sizes: str,
    rows: int | None, json_to: str | None, html_to: str | None, quiet: bool, device: str,
    policies: tuple[str, ...], fixed: tuple[str, ...], framework: str, timeout_s: float,
) -> int:  # fmt: skip
    """Take a bench; the words of the command line as typed."""
    from normcheck.bench.settings import Implementation, Settings, sizes_of

    if json_to and json_to != "-":
        place_to_write(Path(json_to))
    if html_to:
        place_to_write(Path(html_to), (".html", ".htm"))
    typed = [implementation(text) for text in against]
    settings = Settings(
        target=Implementation(target, policies, fixed_values(fixed), framework),
        op=op or "",
        against=tuple(
            Implementation(each.target, each.policies, each.fixed, each.framework)
            for each in typed
        ),
        dtypes=config.dtypes(dtype),
        device=device,
        sizes=sizes_of(sizes),
        rows=rows,
        timeout_s=timeout_s,
    ).checked()  # fmt: skip
    return _taken(settings, json_to, html_to, quiet=quiet)


def _taken(settings: Settings, json_to: str | None, html_to: str | None, *, quiet: bool) -> int:
    from dataclasses import replace

    from normcheck.bench.benching import bench
    from normcheck.cli.streams import stdout_to_stderr
    from normcheck.reports.bench import lines

    def told(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    # What a target prints is no part of the table.
    with stdout_to_stderr():
        found = bench(replace(settings, command=_repeat(settings)), told)
    if json_to == "-":
        click.echo(found.to_json())
    else:
        click.echo("\n".join(lines(found)))
    if json_to and json_to != "-":
        Path(json_to).write_text(found.to_json() + "\n", encoding="utf-8")
        click.echo(f"bench: {json_to}")
    if html_to:
        from normcheck.reports.html import render_bench

        Path(html_to).write_text(render_bench(found), encoding="utf-8")
        click.echo(f"report: {html_to}", err=json_to == "-")
    return 0


def _repeat(settings: Settings) -> str:
    """Return the command that takes the same bench."""
    words = ["normcheck", "bench", settings.target.target, "--op", settings.op]
    words += ["--dtype", ",".join(settings.dtypes), "--device", settings.device]
    if settings.sizes:
        words += ["--sizes", ",".join(map(str, settings.sizes))]
    if settings.rows is not None:
        words += ["--rows", str(settings.rows)]
    words += settings.target.options()
    for each in settings.against:
        words += ["--against", shlex.join([each.target, *each.options()])]
    return shlex.join(words)
