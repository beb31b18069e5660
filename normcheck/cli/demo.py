"""``normcheck demo``: torch's own norms and one broken kernel, judged in front of the reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from normcheck.record import Record

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
    from normcheck.cli.judging import Request
    from normcheck.cli.processes import judged
    from normcheck.cli.progress import Listener
    from normcheck.config import DEFAULT_DTYPES
    from normcheck.record import Verdict
    from normcheck.reports.html import render

    output.mkdir(parents=True, exist_ok=True)
    click.echo(f"normcheck {normcheck.__version__} · profile quick · cpu\n")
    verdicts: dict[str, Verdict] = {}
    for name, target in (*_HONEST, _BROKEN):
        op = "layer_norm" if name == "broken" else name
        request = Request(target=target, op=op, dtype=",".join(DEFAULT_DTYPES), profile="quick")
        record = judged(request.checked(), Listener(quiet=True), jobs=len(DEFAULT_DTYPES))
        verdicts[name] = record.verdict
        (output / f"{name}.html").write_text(render(record), encoding="utf-8")
        click.echo(_told(record))
        click.echo("")
    broken = output / "broken.html"
    click.echo(f"reports: {', '.join(str(output / f'{name}.html') for name in verdicts)}")
    click.echo(f"open {broken} first, then judge your own:")
    click.echo(
        "    normcheck run path/to/file.py:your_layer_norm --op layer_norm --html report.html"
    )
    # The demo's own claim: a broken kernel does not get through.
    return 0 if verdicts["broken"] is Verdict.FAIL else 3


def _told(record: Record) -> str:
    """Tell a run in a few lines: the verdict, the worst case per dtype, the plainest failure."""
    from normcheck.ratio import ratio_text
    from normcheck.record import Verdict
    from normcheck.reports.text import verdict_text

    failing = [check for check in record.checks if check.verdict is Verdict.FAIL]
    # What was not judged has not passed.
    passing = sum(check.verdict is Verdict.PASS for check in record.checks)
    counts = f"{passing} of {len(record.checks)} checks pass"
    lines = [
        f"{verdict_text(record.verdict)}  {record.target}",
        f"  {counts}, {record.cases_judged} cases in {record.elapsed_s:.1f} s",
    ]
    for dtype in dict.fromkeys(check.dtype for check in record.checks):
        checks = [check for check in record.checks if check.dtype == dtype and check.worst_case]
        worst = max(checks, key=lambda check: check.worst_ratio)
        ratio = ratio_text(worst.worst_ratio)
        lines.append(
            f"  worst {dtype:9} {ratio:>7} of the budget: {worst.worst_case} {worst.property}"
        )
    if failing:
        # A wrong output says more at first sight than a wrong gradient, and float32 than half.
        plain = sorted(
            failing, key=lambda c: (c.property != "forward_accuracy", c.dtype != "float32")
        )
        lines += ["", *(f"  {line}" for line in plain[0].failures[0].message.splitlines())]
    return "\n".join(lines)
