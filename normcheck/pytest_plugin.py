"""The pytest plugin's hooks. Nothing heavy is imported before a test needs it.

Every hook returns at once in a project that does not use normcheck: loading this module and running
its hooks costs milliseconds, and imports neither torch nor Hypothesis.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from normcheck.pytest_fixtures import normcheck_case, normcheck_record, normcheck_reference

if TYPE_CHECKING:
    from normcheck.plugin.session import Session

__all__ = ["normcheck_case", "normcheck_record", "normcheck_reference"]

_PREFIX = "normcheck::"
_HELP = {
    "normcheck": "Check a callable without a test file: [OP=]package.module:callable; repeatable.",
    "normcheck-profile": "quick, standard, thorough or nightly.",
    "normcheck-device": "cpu, cuda, cuda:1 or auto.",
    "normcheck-dtype": "One or more, joined by commas.",
    "normcheck-seed": "Seeds what is drawn beyond the fixed corpus.",
    "normcheck-known": "TOML file of known failures.",
    "normcheck-time-budget": "Draw no more cases after 90s, 5m or 1h; what was drawn is judged.",
}


class Hooks:
    """Hooks that a conftest.py or another plugin may implement."""

    @pytest.hookspec
    def pytest_normcheck_implementations(self, config: pytest.Config) -> list[str]:
        """Return targets to check besides those of ``--normcheck``, in the same words."""
        return []

    @pytest.hookspec
    def pytest_normcheck_modify_checks(self, config: pytest.Config, checks: list[str]) -> None:
        """Change in place which checks of a target are collected; they are ids."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our hooks."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini values, all of which begin with our name."""
    group = parser.getgroup("normcheck", "numerical correctness of normalizations")
    group.addoption(
        "--normcheck", action="append", default=[], metavar="TARGET", help=_HELP["normcheck"]
    )
    for option, text in list(_HELP.items())[1:]:
        group.addoption(f"--{option}", default=None, metavar="VALUE", help=text)
        parser.addini(option.replace("-", "_"), text, default=None)
    group.addoption(
        "--normcheck-policy", action="append", default=[], metavar="NAME=VALUE",
        help="Declare a convention of the targets of --normcheck; repeatable.",
    )  # fmt: skip
    group.addoption(
        "--normcheck-case", default=None, metavar="CASE", help="Judge this case alone, by its id."
    )
    group.addoption("--normcheck-select", action="append", default=[], help=argparse.SUPPRESS)
    group.addoption(
        "--normcheck-report", action="append", default=[], metavar="PATH",
        help="Write a report: .html, .json or .md; repeatable.",
    )  # fmt: skip
    group.addoption(
        "--normcheck-benchmark", action="store_true",
        help="Time each target beside torch's own; needs pytest-benchmark.",
    )  # fmt: skip
    group.addoption(
        "--normcheck-require-device", action="store_true",
        help="Fail, rather than skip, where the device is absent.",
    )  # fmt: skip
    group.addoption(
        "--normcheck-update-known", action="store_true",
        help="Write today's failures to the file of known failures.",
    )  # fmt: skip


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Take ids as they are printed: ``normcheck::mykernels:rms_norm::bfloat16-cpu-gradients``."""
    # What follows an option is its value: --deselect takes ids, too.
    paths = early_config.known_args_namespace.file_or_dir
    for text in [word for word in paths if word.startswith(_PREFIX)]:
        last = len(args) - 1 - args[::-1].index(text)
        del args[last]
        target, _, check = text.removeprefix(_PREFIX).partition("::")
        args.append(f"--normcheck={target}")
        if check:
            args.append(f"--normcheck-select={text}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker, and listen."""
    config.addinivalue_line("markers", "normcheck(op, dtype, device, property): a check")
    config.addinivalue_line("markers", "normcheck_benchmark: a timing")
    if config.option.normcheck_benchmark and not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "--normcheck-benchmark needs pytest-benchmark: pip install pytest-benchmark"
        )
    for text in config.option.normcheck_report:
        place = Path(text)
        if place.suffix not in (".html", ".json", ".md") or not place.resolve().parent.is_dir():
            rule = "but must be .html, .json or .md in a folder that is there"
            raise pytest.UsageError(f"--normcheck-report is {text}, {rule}")
    config.pluginmanager.register(_Listener(config), "normcheck-listener")
    if config.option.normcheck or config.option.normcheck_report:
        _session(config)


def _session(config: pytest.Config) -> Session:
    """Return what the run knows of its targets, made when it is first needed."""
    from normcheck.errors import NormcheckError
    from normcheck.plugin.session import session_of

    try:
        return session_of(config)
    except NormcheckError as error:
        raise pytest.UsageError(str(error)) from None


def _used(config: pytest.Config) -> Session | None:
    """Return it only where it has been made: no test of ours, no cost."""
    loaded = sys.modules.get("normcheck.plugin.session")
    return None if loaded is None else config.stash.get(loaded.SESSION, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per check of a contract."""
    contract = vars(metafunc.function).get("normcheck_contract")
    if contract is not None:
        from normcheck.plugin.collecting import parametrize

        parametrize(metafunc, contract, _session(metafunc.config))


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> Generator[None, Any, Any]:
    """Put the timings of a contract beside its checks."""
    made = yield
    if collector.config.option.normcheck_benchmark and made:
        from normcheck.plugin.collecting import timed

        made = [*made, *timed(collector, name, obj)] if isinstance(made, list) else made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the targets that need no test file beside what the session collects, or in its place."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed and _names_targets(collector):
        from normcheck.plugin.collecting import targets

        # Without a path, --normcheck is all that was asked for; a conftest's targets come on top.
        config = collector.config
        paths = config.args_source is config.ArgsSource.ARGS or not config.option.normcheck
        report.result = [*(report.result if paths else []), *targets(collector)]
    return report


def _names_targets(session: pytest.Session) -> bool:
    """Whether the command line or a hook names a target."""
    named = session.ihook.pytest_normcheck_implementations(config=session.config)
    return bool(session.config.option.normcheck) or any(named)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which checks are selected: those of one dtype are judged together."""
    used = _used(session.config)
    if used is not None:
        used.select(session.items)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say in one line what will be judged."""
    used = _used(config)
    return [] if used is None or not used.selected else [used.headline()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let reports of ours carry what the check says: they travel from workers, and to JUnit."""
    report = yield
    if report.when == "call" and _used(item.config) is not None:
        from normcheck.plugin.check import check_of

        check = check_of(item)
        if check is not None:
            report.user_properties += check.properties.items()
            # JUnit reads them off the report of the teardown.
            item.user_properties += check.properties.items()
    return report


class _Listener:
    """Hears reports where all of them arrive: in the controller of xdist, too."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.shared: dict[str, Any] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell the workers of xdist what they share: the folder of their records, and a seed."""
        if not self.shared:
            self.shared = {
                "seed": secrets.randbelow(2**31), "folder": f"normcheck-{secrets.token_hex(8)}"
            }  # fmt: skip
        # Under --dist each, workers may be of different kinds: each judges for itself.
        apart = self.config.option.dist == "each"
        node.workerinput["normcheck"] = {**self.shared, "own": node.gateway.id if apart else ""}
        used = _used(self.config)
        if used is not None:
            used.share()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count verdicts."""
        if any(name == "normcheck.id" for name, _ in report.user_properties):
            _session(self.config).tally.note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker has collected."""
        ids = getattr(node, "workeroutput", {}).get("normcheck_collected")
        if ids:
            _session(self.config).collect(ids)

    def pytest_unconfigure(self) -> None:
        """Remove the folder that workers shared."""
        if self.shared:
            folder = Path(tempfile.gettempdir()) / self.shared["folder"]
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that was asked for checks and has none."""
    used = _session(session.config) if _names_targets(session) else _used(session.config)
    if used is None:
        return
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["normcheck_collected"] = used.told()
        return
    from normcheck.plugin.ending import finish

    finish(session, used)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Sum up, per target."""
    used = _used(config)
    if used is not None:
        from normcheck.plugin.ending import summarise

        summarise(terminalreporter, used)
