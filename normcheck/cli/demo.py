"""``normcheck demo``: torch's own norms and one broken kernel, judged in front of the reader."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

_HONEST = (
    ("rms_norm", "torch.nn.functional:rms_norm"),
    ("layer_norm", "torch.nn.functional:layer_norm"),
)
_BROKEN = ("broken", "normcheck.properties.failure_modes.layer_norm:one_pass_variance")


@click.command("demo")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False),
    default=Path("normcheck-demo"), show_default=True, help="Folder for the HTML reports.",
)  # fmt: skip
def command(output: Path) -> int:
    """Judge torch's rms_norm and layer_norm, and a broken kernel, and write HTML reports."""
    import normcheck
    from normcheck.cli.judging import Request, judge_for_cli
    from normcheck.cli.streams import stdout_to_stderr
    from normcheck.config import DEFAULT_DTYPES
    from normcheck.record import Record, Verdict
    from normcheck.reports.html import render
    from normcheck.reports.text import summary

    output.mkdir(parents=True, exist_ok=True)
    click.echo(f"normcheck {normcheck.__version__} · profile quick · cpu\n")
    records: dict[str, Record] = {}
    for name, target in (*_HONEST, _BROKEN):
        op = "layer_norm" if name == "broken" else name
        request = Request(target=target, op=op, dtype=",".join(DEFAULT_DTYPES), profile="quick")
        with stdout_to_stderr():
            records[name] = judge_for_cli(request, quiet=True)
        (output / f"{name}.html").write_text(render(records[name]), encoding="utf-8")
        click.echo(summary(records[name]))
        click.echo("")
    broken = output / "broken.html"
    click.echo(f"reports: {', '.join(str(output / f'{name}.html') for name in records)}")
    click.echo(f"open {broken} first, then judge your own:")
    click.echo(
        "    normcheck run path/to/file.py:your_layer_norm --op layer_norm --html report.html"
    )
    # The demo's own claim: a broken kernel does not get through.
    return 0 if records["broken"].verdict is Verdict.FAIL else 3
