"""What a pytest run knows of its targets, and how they are judged: a dtype at a time."""

from __future__ import annotations

import secrets
import tempfile
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import normcheck
from normcheck.cases.case import Case
from normcheck.errors import NormcheckError
from normcheck.plugin.check import CheckTest, check_of
from normcheck.plugin.contract import ARGUMENT, Contract
from normcheck.plugin.known import Known
from normcheck.plugin.known_entries import Subject
from normcheck.plugin.planning import Planned, plan, told_by_name
from normcheck.plugin.settings import Settings
from normcheck.plugin.store import Refusal, Store
from normcheck.plugin.tally import Tally
from normcheck.record import INTERRUPTED, Record

__all__ = ["SESSION", "Session", "session_of"]

SESSION = pytest.StashKey["Session"]()
"""Where a run keeps what it knows, once it is asked for."""


@dataclass(slots=True)
class Session:
    """One pytest run, in one process.

    Attributes:
        config: Of pytest.
        settings: What the run was told.
        store: What has been judged.
        known: Failures that are expected.
        case: The one case to judge, if one was asked for.
        fresh: The seed of profiles that take a new one: the same in all workers.
        planned: Every contract that was collected.
        selected: Per key, the properties that were not deselected.
        collected: All checks, deselected ones too.
        ahead: Keys of what may be judged before its own tests run.
        tally: What reports say.
        faults: Why the run fails beyond its tests.
        notes: What is said at the end.
    """

    config: pytest.Config
    settings: Settings
    store: Store
    known: Known
    case: Case | None = None
    fresh: int = 0
    planned: list[Planned] = field(default_factory=list)
    selected: dict[str, list[str]] = field(default_factory=dict)
    collected: list[Subject] = field(default_factory=list)
    ahead: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def asked(self) -> dict[str, tuple[str, str]]:
        """What the command line or a hook names, as typed, with its op, if told, and target."""
        hooks = self.config.hook.pytest_normcheck_implementations(config=self.config)
        found: dict[tuple[str, str], str] = {}
        for text in [*self.config.option.normcheck, *(word for each in hooks for word in each)]:
            op, _, target = text.rpartition("=")
            # The op may be written or told by the name: that is one target, under its first name.
            found.setdefault((op or told_by_name(target), target), text)
        return {text: (text.rpartition("=")[0], target) for (_, target), text in found.items()}

    @property
    def is_whole(self) -> bool:
        """Whether the run collects all that the project has, with the project's own settings."""
        option, told = self.config.option, (self.settings.found[n] for n in ("dtype", "device"))
        narrowed = any(s.origin.startswith(("--", "NORMCHECK_")) for s in told)
        source, inside = self.config.args_source, self.config.invocation_params.dir
        paths = source is self.config.ArgsSource.ARGS or (
            source is self.config.ArgsSource.INVOCATION_DIR and inside != self.config.rootpath
        )
        parts = ("normcheck", "lf", "ignore", "ignore_glob")
        return not (paths or narrowed or any(getattr(option, name, None) for name in parts))

    def chosen(self, node: str) -> list[str]:
        """Return the ids that the command line names below a target; all are meant if none is."""
        words: list[str] = self.config.option.normcheck_select
        return [text for text in words if text.startswith(f"{node}::")]

    def share(self) -> None:
        """Find the folder in which the workers of one xdist run share records."""
        shared = self.shared
        if shared:
            self.store.folder = Path(tempfile.gettempdir(), shared["folder"], shared.get("own", ""))

    @property
    def shared(self) -> Mapping[str, Any]:
        """What the workers of one xdist run have in common; empty without xdist."""
        worker: dict[str, Any] = getattr(self.config, "workerinput", {})
        listener = self.config.pluginmanager.get_plugin("normcheck-listener")
        return worker.get("normcheck") or getattr(listener, "shared", {})

    def told(self) -> list[tuple[str, ...]]:
        """Return what a worker tells the controller that it has collected."""
        return [astuple(subject) for subject in self.collected]

    def collect(self, told: Iterable[Sequence[str]]) -> None:
        """Take over what a worker has collected, once."""
        found = [Subject(*each) for each in told]
        self.collected = list(dict.fromkeys([*self.collected, *found]))

    def plan(self, contract: Contract, place: str) -> Planned:
        """Plan a contract under the options of the run; see `planning.plan`."""
        worker: str = getattr(self.config, "workerinput", {}).get("workerid", "")
        made = plan(contract, self.settings, worker, self.fresh)
        planned = Planned(contract, made, place)
        self.planned.append(planned)
        return planned

    def checks(self, planned: Planned) -> list[CheckTest]:
        """Return the checks of a target, as hooks leave them."""
        plan = planned.plan
        found = [CheckTest(self, planned, d, p.name) for d in plan.dtypes for p in plan.checked(d)]
        ids = [check.id for check in found]
        self.config.hook.pytest_normcheck_modify_checks(config=self.config, checks=ids)
        kept = [check for check in found if check.id in ids]
        self.collected += [check.subject for check in kept]
        return kept

    def select(self, items: Iterable[pytest.Item]) -> None:
        """Note which checks will be asked for, and which dtypes may be judged ahead of them."""
        bound = set()
        for item in items:
            check = check_of(item)
            if check is not None:
                key = check.planned.key(check.dtype)
                names = self.selected.setdefault(key, [])
                names += [] if check.prop in names else [check.prop]
                bound |= set() if _stands_alone(item) else {key}
        self.ahead = set(self.selected) - bound

    def headline(self) -> str:
        """Say what will be judged."""
        places = [planned for planned in self.planned if self._is_selected(planned)]
        profiles = ", ".join(dict.fromkeys(p.plan.profile.name for p in places))
        seeds = ", ".join(dict.fromkeys(str(p.plan.seed) for p in places))
        devices = ", ".join(dict.fromkeys(str(p.plan.device) for p in places))
        checks = sum(map(len, self.selected.values()))
        targets = f"{len(places)} target{'s' * (len(places) != 1)}"
        said = "".join(f" · {text}" for text in self.settings.told())
        return (
            f"normcheck {normcheck.__version__}: profile {profiles} (seed {seeds}) · "
            f"{checks} checks of {targets} · {devices}{said}"
        )

    def _is_selected(self, planned: Planned) -> bool:
        return any(planned.key(dtype) in self.selected for dtype in planned.plan.dtypes)

    def record(
        self, planned: Planned, dtype: str, fixtures: Mapping[str, object], variant: str = ""
    ) -> Record | Refusal:
        """Return the record of one dtype, judged here or by another process of this run.

        Args:
            planned: The target.
            dtype: Name of the format.
            fixtures: Values of the target's parameters that pytest fills in.
            variant: Which parameters of fixtures they come from.
        """
        key = planned.key(dtype, variant)
        found = self.store.get(key)
        while found is None:
            with self.store.claim(key, wait=False) as mine:
                if mine:
                    found = self.store.get(key) or self._judged(planned, dtype, fixtures, key)
            if found is None and not self._another():
                with self.store.claim(key, wait=True):
                    found = self.store.get(key)
        return found

    def _another(self) -> bool:
        """Judge another dtype rather than wait; return whether there was one."""
        for planned in self.planned:
            for dtype in planned.plan.dtypes:
                key = planned.key(dtype)
                if key not in self.ahead or self.store.get(key) is not None:
                    continue
                with self.store.claim(key, wait=False) as mine:
                    if mine and self.store.get(key) is None:
                        self._judged(planned, dtype, {}, key)
                        return True
        return False

    def _judged(
        self, planned: Planned, dtype: str, fixtures: Mapping[str, object], key: str
    ) -> Record | Refusal:
        from normcheck.engine import execute

        chosen = replace(planned.plan, part=(dtype,))
        # A timing asks for a verdict even where all checks were deselected.
        names = self.selected.get(planned.key(dtype), chosen.properties)
        chosen = replace(chosen, properties=tuple(n for n in chosen.properties if n in names))
        found: Record | Refusal
        try:
            chosen = replace(chosen, adapter=planned.filled(fixtures))
            found = execute(chosen, _quiet)
        except NormcheckError as error:
            found = Refusal(str(error))
        except Exception as error:
            # Kept, too: every check of the dtype would only meet it again.
            words = f"This is a fault of normcheck: {type(error).__name__}: {error}"
            found = Refusal(f"{words}\n{traceback.format_exc()}")
        if isinstance(found, Record) and found.incomplete == INTERRUPTED:
            raise KeyboardInterrupt
        self.store.put(key, found)
        return found


def _stands_alone(item: pytest.Item) -> bool:
    """Whether nothing of the user's own decides how, or whether, a test runs."""
    fixtures = set(getattr(item, "fixturenames", ())) - {ARGUMENT, "request"}
    marks = {mark.name for mark in item.iter_markers()}
    return not fixtures and not marks & {"skip", "skipif", "xfail", "usefixtures"}


def _quiet(event: object) -> None:
    """Listen to nothing: pytest tells."""


def session_of(config: pytest.Config) -> Session:
    """Return the session of a pytest run, made when it is first asked for.

    Raises:
        UsageError: A setting, the case, or the file of known failures, means nothing.
    """
    found = config.stash.get(SESSION, None)
    if found is None:
        settings = Settings.of(config)
        known = Known.read(settings["known"], config.rootpath)
        alone = config.option.normcheck_case
        found = Session(config, settings, Store(), known, Case.parse(alone) if alone else None)
        found.share()
        found.fresh = int(found.shared.get("seed", secrets.randbelow(2**31)))
        config.stash[SESSION] = found
    return found
