"""Progress on stderr: a bar on a terminal, a line per check elsewhere."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

import click

from normcheck.events import CaseJudged, CheckFinished, Event, RunStarted
from normcheck.ratio import ratio_text
from normcheck.record import Verdict

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Listener"]

_GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.NOT_JUDGED: "?"}


class Listener:
    """Tells a person what a run is doing. Use as a context manager around the run."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._cases = 0

    def __enter__(self) -> Listener:
        if not self.quiet and sys.stderr.isatty() and not os.environ.get("CI"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                console=Console(stderr=True), transient=True,
                # A thread of rich's would hold its lock in a child that is forked meanwhile.
                auto_refresh=False, redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        if self.quiet:
            return
        match event:
            case RunStarted():
                self._started(event)
            case CaseJudged():
                if self._progress is not None and self._task is not None:
                    self._progress.update(self._task, advance=1, description=event.dtype)
                    self._progress.refresh()
            case CheckFinished():
                check = event.check
                glyph = _GLYPHS[check.verdict]
                ratio = ratio_text(check.worst_ratio) if check.worst_ratio else ""
                self._say(f"  {glyph} {check.id}  {check.cases} cases  {ratio}".rstrip())

    def _started(self, event: RunStarted) -> None:
        """Tell it once, however many processes share the run."""
        if self._cases == 0:
            self._say(f"{event.target} as {event.op}: {event.binding}")
            for note in event.notes:
                self._say(f"  note: {note}")
        self._cases += event.cases
        if self._progress is not None and self._task is None:
            self._task = self._progress.add_task("judging", total=self._cases)
        elif self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=self._cases)

    def _say(self, text: str) -> None:
        if self._progress is not None:
            # Markup and highlighting are for our own words, never for a target's name.
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)
