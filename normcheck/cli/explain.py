"""``normcheck explain``: the page of a property, an op, a regime, a class of faults or a mutant."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from normcheck.properties.failure_modes.catalogue import FailureMode

__all__ = ["command"]


def _wrapped(text: str, indent: str = "  ") -> str:
    # A name or an address is never cut in two.
    return textwrap.fill(
        text, 96, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _property(name: str) -> str:
    from normcheck.properties import registry
    from normcheck.properties.failure_modes import catalogue

    page = registry.find(name).explanation
    lines = [f"{name}: a property"]
    for title, text in (("Claim", page.claim), ("Why", page.why), ("Bound", page.bound)):
        lines += ["", title, _wrapped(text)]
    lines += ["", "Real bugs it would have caught", *(f"  {bug}" for bug in page.bugs)]
    caught = [mode.name for mode in catalogue.modes() if mode.caught_by == name]
    if caught:
        lines += ["", "Mutants that it must catch", _wrapped(" ".join(caught))]
    return "\n".join(lines)


def _op(name: str) -> str:
    from normcheck.ops import catalogue
    from normcheck.properties.failure_modes import catalogue as failure_modes

    op = catalogue.find(name)
    lines = [f"{name}: an op", _wrapped(op.summary), "", "Signature", f"  {op.signature()}", ""]
    lines += [f"Default eps {op.eps:g}, {op.eps_place}", ""]
    count = len(failure_modes.of_op(name))
    lines += [f"{_counted(count, 'mutant')} of it: normcheck explain lists them", ""]
    return "\n".join([*lines, f"  normcheck run TARGET --op {name}"])


def _regime(name: str) -> str:
    from normcheck.cases.regimes import MIXES, REGIMES

    if name in MIXES:
        return f"{name}: a mix of regimes, one per slice, cyclically\n" + _wrapped(
            " ".join(MIXES[name])
        )
    regime = REGIMES[name]
    token = f"{name}1e3" if regime.strength else name
    return f"{name}: a regime of values\n{_wrapped(regime.summary)}\n  as in a case id: {token}"


def _class(name: str) -> str:
    from normcheck.properties.failure_modes import catalogue

    found = catalogue.find_class(name)
    lines = [f"{found.id}: {found.name}, a class of faults", "", _wrapped(found.text)]
    lines += ["", "Where it hides", _wrapped(found.hides)]
    lines += ["", "What shows it", _wrapped(found.trigger)]
    lines += ["", "Real bugs", *(f"  {bug}" for bug in found.bugs)]
    modes = catalogue.of_class(found.id)
    if modes:
        lines += ["", "Mutants, and the property that must catch each"]
        lines += [line for mode in modes for line in _lines_of(mode)]
        lines += ["", "See one caught", f"  {modes[0].command}"]
    if found.cannot:
        lines += ["", "What cannot be shown here", _wrapped(found.cannot)]
    return "\n".join(lines)


def _lines_of(mode: FailureMode) -> tuple[str, str]:
    return f"  {mode.name}", _wrapped(f"{mode.summary} [{mode.caught_by}]", "      ")


def _failure_mode(name: str) -> str:
    from normcheck.properties.failure_modes import catalogue

    mode = catalogue.find(name)
    kind = catalogue.find_class(mode.kind)
    lines = [f"{name}: a failure mode of {mode.op}", _wrapped(mode.summary), ""]
    lines += ["Class", f"  {kind.id} {kind.name}: normcheck explain {kind.id}", ""]
    lines += ["Caught by", f"  {mode.caught_by}", ""]
    if mode.deadly:
        lines += ["It ends the process that calls it.", ""]
    return "\n".join([*lines, "See it caught", f"  {mode.command}"])


def _all() -> str:
    from normcheck.cases.regimes import MIXES, REGIMES
    from normcheck.ops import catalogue
    from normcheck.properties import registry
    from normcheck.properties.failure_modes import catalogue as failure_modes

    lines = ["Properties: claims that must hold for every case"]
    for name in registry.names():
        lines.append(_wrapped(f"{name}: {registry.find(name).explanation.claim}"))
    lines += ["", "Ops"]
    lines += [f"  {catalogue.find(name).signature()}" for name in catalogue.names()]
    lines += ["", "Regimes: families of values", _wrapped(" ".join((*MIXES, *REGIMES)))]
    modes = failure_modes.modes()
    lines += ["", f"Failure modes: {len(modes)} ways to be wrong, each with a mutant, by class"]
    for kind in failure_modes.classes():
        own = failure_modes.of_class(kind.id)
        lines.append(f"  {kind.id} {kind.name}: {_counted(len(own), 'mutant')}")
        if own:
            lines.append(_wrapped(" ".join(mode.name for mode in own), "      "))
    closing = "normcheck explain NAME prints the page of one: a property, an op, a regime, a class"
    return "\n".join([*lines, "", f"{closing} such as K13,", "or a mutant."])


def _pages() -> tuple[tuple[tuple[str, ...], Callable[[str], str]], ...]:
    """Return what has a page: names, and what prints it."""
    from normcheck.cases.regimes import MIXES, REGIMES
    from normcheck.ops import catalogue
    from normcheck.properties import registry
    from normcheck.properties.failure_modes import catalogue as failure_modes

    return (
        (tuple(registry.names()), _property),
        (catalogue.names(), _op),
        ((*MIXES, *REGIMES), _regime),
        (tuple(kind.id for kind in failure_modes.classes()), _class),
        (tuple(mode.name for mode in failure_modes.modes()), _failure_mode),
    )


@click.command("explain")
@click.argument("name", required=False)
def command(name: str | None) -> int:
    """Explain NAME: a property, an op, a regime of values, a class of faults such as K13, or a
    mutant. All of them without NAME.
    """  # noqa: D205 - the first paragraph is what --help prints
    if name is None:
        click.echo(_all())
        return 0
    from normcheck.errors import UsageError, nearest

    pages = _pages()
    for known, page in pages:
        for spelling in (name, name.upper()):
            if spelling in known:
                click.echo(page(spelling))
                return 0
    everything = [known for names, _ in pages for known in names]
    raise UsageError(f"nothing is called {name!r}{nearest(name, everything)}")
