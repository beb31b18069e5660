"""A run shared among processes, and what becomes of the ways in which one of them can end."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import click

from normcheck.cli.child import Child, Page, messages, stopping
from normcheck.cli.judging import Request, judge_for_cli
from normcheck.cli.progress import Listener
from normcheck.cli.streams import stdout_to_stderr
from normcheck.config import parts, profile
from normcheck.errors import NormcheckError
from normcheck.events import CaseJudged, CheckFinished, Event, RunStarted
from normcheck.joining import joined
from normcheck.record import Record

__all__ = ["DiedError", "default_jobs", "judged"]

# A target that ends its process in more cases than these is not worth starting again.
MOST_DEATHS = 8
# Each takes twice the time that a call is granted.
MOST_HANGS = 3
Send = Callable[[object], None]


class DiedError(NormcheckError):
    """The target ended its process or hung, too often or where nothing can be judged without it."""

    exit_status = 1


def default_jobs(request: Request) -> int:
    """Return how many processes share a run unless told: one per core, and one for a GPU."""
    if request.device != "cpu" or request.fail_fast:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def judged(request: Request, listener: Listener, jobs: int) -> Record:
    """Judge in child processes; where the target ends one, judge the rest in another.

    Args:
        request: What was asked for; its words have been checked.
        listener: Tells a person.
        jobs: Most processes at once.

    Raises:
        NormcheckError: The target cannot be judged.
        KeyboardInterrupt: The user has stopped it before anything was judged.
    """
    if not hasattr(os, "fork"):
        with listener, stdout_to_stderr():
            return judge_for_cli(request, listener)
    dtypes = request.dtype.split(",")

    def place(part: tuple[str, ...]) -> int:
        return dtypes.index(part[0])

    run = _Run(request, listener)
    children: list[Child] = []
    with listener, stopping(children):
        for part in parts(dtypes, jobs, profile(request.profile)):
            children.append(run.child(part))
        for child, message in messages(children):
            if message is None:
                children += run.ended(child)
            else:
                run.heard(child, message)
    return joined([run.records[part] for part in sorted(run.records, key=place)], dtypes)


@dataclass(slots=True)
class _Run:
    """What the parent knows.

    Attributes:
        request: What was asked for, with the deaths so far.
        listener: Tells a person.
        records: Per part, what it found.
        hangs: How often a call could not be interrupted.
    """

    request: Request
    listener: Listener
    records: dict[tuple[str, ...], Record] = field(default_factory=dict)
    hangs: int = 0

    def child(self, part: tuple[str, ...]) -> Child:
        """Start a child on some dtypes."""
        request = replace(self.request, part=part)
        return Child(part, lambda page, send: _work(request, page, send))

    def heard(self, child: Child, message: object) -> None:
        """Take a message in."""
        match message:
            case Record():
                self.records[child.part] = message
            case BaseException():
                raise message
            case RunStarted() | CaseJudged() | CheckFinished():
                self.listener(message)

    def ended(self, child: Child) -> list[Child]:
        """Return the child that goes on where one has died, or none where it had finished."""
        if child.part in self.records:
            return []
        (case, prop), how = child.page.noted, child.how
        if child.page.hung:
            self.hangs += 1
            limit = f"{2 * self.request.timeout_s:g} s"
            how = f"did not return within {limit}, and could not be interrupted"
        if prop and len(self.request.deaths) < MOST_DEATHS and self.hangs < MOST_HANGS:
            doing = prop.replace(":", " ")
            click.echo(f"normcheck: the target {how} on {case}, in {doing}; going on", err=True)
            deaths = (*self.request.deaths, (case, prop, how))
            self.request = replace(self.request, deaths=deaths)
            return [self.child(child.part)]
        where = f" on {case}" if case else " when it was imported"
        raise DiedError(f"{self.request.target} {how}{where}")


def _work(request: Request, page: Page, send: Send) -> None:
    """Judge a part in a child, and send what happens."""

    def tell(event: Event) -> None:
        """Send what a person is told; the record comes by itself."""
        if isinstance(event, RunStarted | CaseJudged | CheckFinished):
            send(event)

    def hung(case: str) -> None:
        """End the process, from a thread: the call cannot be stopped."""
        page.give_up()
        os._exit(1)

    try:
        with stdout_to_stderr():
            record = judge_for_cli(request, tell, hung, page.note)
    except (NormcheckError, KeyboardInterrupt) as error:
        send(error)
    except Exception as error:
        error.add_note(f"In a child process:\n{traceback.format_exc()}")
        send(_sendable(error))
    else:
        send(record)


def _sendable(error: Exception) -> Exception:
    """Return an exception that survives the way to the parent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ()))
    return error
